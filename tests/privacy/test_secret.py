"""The secret of a private run: for its owner alone, made once."""

import os
import stat

import pytest

from gptjax.config import BadInput
from gptjax.privacy import secret


def test_the_secret_is_written_once_for_its_owner_alone(tmp_path):
    old = os.umask(0)
    try:
        made = secret.opened(str(tmp_path / "run"), begun=False)
        assert not (tmp_path / "run").exists(), "what may be refused yet is not written"
        secret.write(str(tmp_path / "run"), made)
    finally:
        os.umask(old)
    file = tmp_path / "run/privacy.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret.opened(str(tmp_path / "run"), begun=True) == made == file.read_bytes().hex()
    assert secret.opened(str(tmp_path / "other"), begun=False) != made
    secret.write(str(tmp_path / "run"), "00" * 40)
    assert file.read_bytes().hex() == made, "nothing replaces it"
    assert secret.noise_key(made).tobytes() + secret.sampling_key(made) == file.read_bytes()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda file: file.unlink(), "is missing"),
        (lambda file: file.chmod(0o640), "chmod 600"),
        (lambda file: file.write_bytes(b"short"), "is damaged, 5 bytes of 40"),
        (
            lambda file: (file.rename(file.with_suffix(".moved")), file.symlink_to(file.with_suffix(".moved"))),
            "is no file",
        ),
    ],
    ids=["missing", "readable", "damaged", "a link"],
)
def test_a_secret_that_is_none_is_refused(tmp_path, spoil, says):
    secret.write(str(tmp_path), secret.opened(str(tmp_path), begun=False))
    spoil(tmp_path / "privacy.key")
    with pytest.raises(BadInput, match=says):
        secret.opened(str(tmp_path), begun=True)


def test_a_secret_goes_to_no_store_elsewhere():
    with pytest.raises(BadInput, match="name a local directory"):
        secret.opened("gs://bucket/run", begun=False)
