"""Where the hub's secret key comes from."""

import os
import secrets

from config.settings import Settings, SettingsError
from parties.tokens import SecretKeys


def load_secret_keys(settings: Settings) -> SecretKeys:
    """Give the secret keys as set; for an embedded database without any, one generated in the data directory.

    Raises SettingsError naming the setting.
    """
    if settings.secret_key is not None:
        return _checked(settings.secret_key.get_secret_value().split(","), "secret_key")
    path = settings.secret_key_file
    if path is None:
        path = settings.data_dir / "secret_key"
        try:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            made = settings.data_dir / f".secret_key.{os.getpid()}"
            with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(secrets.token_hex(32) + "\n")
            try:
                os.link(made, path)  # whoever is first wins; nobody reads half a key
            except FileExistsError:
                pass
            finally:
                made.unlink()
        except OSError as exc:
            raise SettingsError(f"data_dir: no secret key can be kept in {settings.data_dir}: {exc.strerror}") from exc
    try:
        text = path.read_text()
    except OSError as exc:
        raise SettingsError(f"secret_key_file: {path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise SettingsError(f"secret_key_file: {path} cannot be read: it is no text") from exc
    return _checked(text.replace(",", "\n").splitlines(), "secret_key_file")


def _checked(keys: list[str], setting: str) -> SecretKeys:
    try:
        return SecretKeys(keys)
    except ValueError as exc:
        raise SettingsError(f"{setting}: {exc}") from exc
