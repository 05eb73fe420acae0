"""What signals do while a command works."""

import signal

import pytest

from stylepack.cli import stopping
from stylepack.cli.stopping import stop_on_signals


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_one_wish_to_stop_that_arrives_twice_stops_once(first: signal.Signals) -> None:
    with stop_on_signals("saving") as stop:
        for number in (first, first, signal.SIGTERM):
            signal.raise_signal(number)
    assert stop.exit_code == 128 + first


def test_a_later_ctrl_c_stops_at_once_and_a_later_sigterm_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stopping, "WAVE", -1.0)
    for first in (signal.SIGTERM, signal.SIGINT):
        with stop_on_signals("saving") as stop:
            signal.raise_signal(first)
            signal.raise_signal(signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert stop.asked == first
