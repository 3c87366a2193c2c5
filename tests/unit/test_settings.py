"""The environment: a variable that cannot be used is named, with its value and what it takes."""

from pathlib import Path

import pytest
from pydantic import Field, model_validator

from monitoring.contract.errors import ConfigError
from monitoring.contract.settings import Settings


class _Service(Settings):
    port: int = Field(default=5050, gt=0)
    api_token: str = ""
    token_file: Path

    @model_validator(mode="after")
    def _differs(self) -> "_Service":
        if self.port == 1:
            raise ValueError("the port must not be 1")
        return self


def test_settings_come_from_variables_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each field is the variable of its name; an empty variable counts as unset."""
    monkeypatch.setenv("TOKEN_FILE", "/t")
    monkeypatch.setenv("DATA_DIR", "/srv/data")
    monkeypatch.setenv("PORT", "")
    settings = _Service.read()
    assert (settings.data_dir, settings.port, settings.token_file) == (Path("/srv/data"), 5050, Path("/t"))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        pytest.param({"TOKEN_FILE": "/t", "PORT": "x"}, "PORT = 'x': Input should be a valid integer", id="type"),
        pytest.param({"TOKEN_FILE": "/t", "PORT": "-1"}, "PORT = '-1': Input should be greater than 0", id="range"),
        pytest.param({"TOKEN_FILE": "/t", "PORT": "1"}, "the port must not be 1", id="together"),
        pytest.param({"API_TOKEN": "very-secret"}, "TOKEN_FILE: is missing", id="missing"),
    ],
)
def test_a_wrong_variable_is_named_and_no_other_is_shown(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    """The error names the variable and what it takes, and does not tell the other variables' values."""
    monkeypatch.setenv("API_TOKEN", "very-secret")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        _Service.read()
    assert message in str(caught.value)
    assert "very-secret" not in str(caught.value)
