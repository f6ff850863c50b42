"""The certificate that all servers under test show: self-signed, ECDSA P-256."""

import shutil
import subprocess
from pathlib import Path

from processes import BenchmarkError
from tools import BUILD

NAME = "dns.bench.demo"


def pair() -> tuple[Path, Path]:
    """Return the files of the certificate and its key, after making them if they are not there."""
    certificate, key = BUILD / "certificate.pem", BUILD / "key.pem"
    if certificate.exists() and key.exists():
        return certificate, key
    if not shutil.which("openssl"):
        raise BenchmarkError("no openssl: install it (apt install openssl)")
    BUILD.mkdir(parents=True, exist_ok=True)
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]
    names = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    made = subprocess.run(
        ["openssl", "req", "-x509", *curve, *names, "-days", "3650", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise BenchmarkError(f"openssl makes no certificate:\n{made.stderr}")
    return certificate, key
