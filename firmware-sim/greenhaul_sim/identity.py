"""Who a simulated terminal is. Everything follows from its number, so no two runs contradict."""

import random
from dataclasses import dataclass

from greenhaul_protocols.jt808 import Authentication, Registration

_HENAN, _NANYANG = 41, 1300  # GB/T 2260
_BLUE, _OTHER_COLOUR = 1, 9  # JT/T 415
_GRADIENT_GREEN = 94  # JT/T 697.7: light new-energy vehicles

# Letters behind the city's: no I, no O, and no D or F, which begin new-energy plates.
_PLATE_LETTERS = "ABCEGHJKLMNPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Identity:
    """A terminal, and the truck it is built into."""

    phone: str
    revision: int  # 2011, 2013 or 2019
    plate: str
    is_electric: bool

    @property
    def terminal_id(self) -> str:
        """Seven characters, as 2013 allows."""
        return self.phone[-7:]

    def registration(self) -> Registration:
        """0x0100."""
        colour = _BLUE
        if self.is_electric:
            colour = _GRADIENT_GREEN if self.revision == 2019 else _OTHER_COLOUR
        return Registration(
            province_id=_HENAN,
            city_id=_NANYANG,
            maker_id="GHSIM",
            model="GH-T1",
            terminal_id=self.terminal_id,
            plate_colour=colour,
            plate=self.plate,
        )

    def authentication(self, auth_code: str) -> Authentication:
        """0x0102."""
        if self.revision < 2019:
            return Authentication(auth_code)
        imei = f"86{self.phone.lstrip('0')[-13:]:0>13}"
        return Authentication(auth_code, imei=imei, software_version="greenhaul-sim")


def identity_of(phone: str, revision: int = 2013) -> Identity:
    """The terminal with this number: two in three trucks are electric."""
    rng = random.Random(f"identity {phone}")
    is_electric = rng.random() < 2 / 3
    digits = f"{rng.randrange(100_000):05d}"
    letter = _PLATE_LETTERS[rng.randrange(len(_PLATE_LETTERS))]
    # D and F tell pure electric from other new energy; an old plate has five characters.
    plate = f"豫RD{digits}" if is_electric else f"豫R{letter}{digits[:4]}"
    return Identity(phone, revision, plate, is_electric)


def fleet_identities(count: int, seed: int, revision: int | None) -> list[Identity]:
    """The first `count` terminals of a seed's fleet. revision None: one in three of each."""
    revisions = (2013, 2019, 2011)
    return [
        identity_of(f"139{seed % 1000:03d}{index:05d}", revision or revisions[index % 3])
        for index in range(count)
    ]
