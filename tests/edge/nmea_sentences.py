"""What a GNSS receiver says, with its checksums."""


def sentence(body: str) -> str:
    """With its checksum."""
    checksum = 0
    for byte in body.encode():
        checksum ^= byte
    return f"${body}*{checksum:02X}\r\n"


def rmc(second: int, status: str = "A", date: str = "201126", talker: str = "GN") -> str:
    """Recommended minimum data at 07:04:SS."""
    return sentence(
        f"{talker}RMC,0704{second:02d}.000,{status},3259.5000,N,11231.2000,E,20.0,91.5,{date},,,A"
    )


def gga(second: int) -> str:
    """Fix data at 07:04:SS."""
    return sentence(f"GNGGA,0704{second:02d}.000,3259.5000,N,11231.2000,E,1,12,0.9,131.2,M,0,M,,")
