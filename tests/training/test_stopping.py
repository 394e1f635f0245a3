"""Signals: the first is waited for by the step, the second by nobody."""

from __future__ import annotations

import os
import signal

import pytest

from llama_experiments.training.stopping import SIGNALS, Stopped, Stopping


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_the_first_is_noted_and_the_second_raised(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    def twice() -> None:
        with Stopping() as stopping:
            stopping.check()
            os.kill(os.getpid(), number)
            assert stopping.requested
            assert f"{number.name}: stopping after this step" in capfd.readouterr().err
            os.kill(os.getpid(), number)
            pytest.fail("the second did not stop it")

    with pytest.raises(Stopped) as caught:
        twice()
    assert not caught.value.in_order
    assert caught.value.status == 128 + number


def test_between_two_steps_it_is_in_order() -> None:
    def once() -> None:
        with Stopping() as stopping:
            os.kill(os.getpid(), signal.SIGUSR1)
            stopping.check()

    with pytest.raises(Stopped, match="stopped by SIGUSR1") as caught:
        once()
    assert caught.value.in_order


def test_the_handlers_of_before_are_back_afterwards() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Stopping():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_of_several_processes_all_must_know() -> None:
    with Stopping() as stopping:
        stopping.shared = True
        os.kill(os.getpid(), signal.SIGUSR1)
        stopping.check()  # the others do not know yet
        stopping.agree(2.0, 2.0 * signal.SIGUSR1)
        with pytest.raises(Stopped, match="SIGUSR1"):
            stopping.check()
    other = Stopping()
    other.shared = True
    other.agree(0.0, 0.0)
    other.check()
    other.agree(2.0, float(signal.SIGUSR1 + signal.SIGTERM))  # of two kinds
    with pytest.raises(Stopped, match="SIGTERM"):
        other.check()
