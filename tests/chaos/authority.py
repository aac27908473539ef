"""A certificate authority for tests, by the openssl command."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

_CONFIG = """
[ca]
default_ca = this
[this]
database = {folder}/index.txt
serial = {folder}/serial
new_certs_dir = {folder}
default_md = sha256
unique_subject = no
policy = any
copy_extensions = copy
[any]
commonName = supplied
"""
_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """Signs certificates with any dates. `ca` is its own certificate."""

    def __init__(self, folder: Path, name: str = "greenhaul test") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.ca, self._key = folder, folder / "ca.pem", folder / "ca.key"
        self._config = folder / "ca.conf"
        self._config.write_text(_CONFIG.format(folder=folder))
        (folder / "index.txt").write_text("")
        (folder / "serial").write_text("01\n")
        self._openssl(
            "req", "-x509", *_CURVE, "-keyout", self._key, "-out", self.ca, "-subj", f"/CN={name}",
            "-days", "36500",
        )  # fmt: skip

    def sign(
        self,
        name: str,
        *,
        begins: datetime | None = None,
        ends: datetime | None = None,
        names: str = "DNS:localhost,IP:127.0.0.1",
    ) -> tuple[Path, Path]:
        """Certificate and key, PEM, named `name`; valid from yesterday for 90 days by default."""
        now = datetime.now(UTC)
        begins, ends = begins or now - timedelta(days=1), ends or now + timedelta(days=90)
        request = self.folder / f"{name}.csr"
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        self._openssl(
            "req", "-new", *_CURVE, "-keyout", key, "-out", request, "-subj", f"/CN={name}",
            "-addext", f"subjectAltName={names}",
        )  # fmt: skip
        self._openssl(
            "ca", "-batch", "-notext", "-config", self._config, "-cert", self.ca, "-keyfile",
            self._key, "-in", request, "-out", certificate, "-startdate", f"{begins:%Y%m%d%H%M%SZ}",
            "-enddate", f"{ends:%Y%m%d%H%M%SZ}",
        )  # fmt: skip
        return certificate, key

    def _openssl(self, *arguments: str | Path) -> None:
        command = ["openssl", *map(str, arguments)]
        ran = subprocess.run(command, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
