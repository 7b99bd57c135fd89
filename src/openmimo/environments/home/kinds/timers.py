"""Timers, and actions for later: "set a timer for 5 minutes", "turn off the fan in half an hour", "open it at 7"."""

from __future__ import annotations

from openmimo.chat import ToolCall
from openmimo.environments.home.commands import write_command
from openmimo.environments.home.gold import settle, work_out
from openmimo.environments.home.kinds.base import Draft, Scene, pick_action, say_action, some_mention
from openmimo.environments.home.lookups import find
from openmimo.environments.home.moments import sample_duration, sample_time

__all__ = ["schedule", "timer"]


def timer(scene: Scene) -> Draft | None:
    """A timer that only rings, or the end of one that an earlier turn set."""
    if "HassStartTimer" not in scene.offered:
        return None
    length = sample_duration(scene.rng)
    start = scene.phrase(
        "timer",
        {"v": length.text},
        rows=[],
        thoughts=(length.step,),
        calls=(ToolCall("HassStartTimer", {"minutes": length.minutes}),),
    )
    return _cancel(scene, start, "cancel_timer") if scene.rng.random() < 0.35 else start


def schedule(scene: Scene) -> Draft | None:
    """An action in so many minutes or at a time of day, or the end of such a plan that an earlier turn made."""
    device = scene.rng.choice(scene.home.devices)
    picked, mention = pick_action(scene, device), some_mention(scene, device, named_share=0.7)
    if "Schedule" not in scene.offered or picked is None or mention is None or picked[0] == "set_color":
        return None
    intent, value = picked
    is_delay = scene.rng.random() < 0.55
    when = sample_duration(scene.rng) if is_delay else sample_time(scene.rng, scene.home.clock)
    slots = {"do": say_action(scene, intent, mention, value), "v": when.text}
    plan = scene.phrase(
        "later" if is_delay else "at_time",
        slots,
        mentions=(mention,),
        rows=[device],
        thoughts=(*find(scene.home, device, mention), when.step),
        calls=(ToolCall("Schedule", {**when.arguments, "command": write_command(device, intent, value)}),),
    )
    return _cancel(scene, plan, "cancel_plan") if scene.rng.random() < 0.2 else plan


def _cancel(scene: Scene, start: Draft, intent: str) -> Draft | None:
    """Set it in an earlier turn, and ask for its end."""
    if "HassCancelTimer" not in scene.offered:
        return None
    done = work_out(start, scene.home, scene.offered)
    return scene.phrase(
        intent,
        {},
        rows=[],
        thoughts=done.told,
        calls=(ToolCall("HassCancelTimer", {}),),
        history=done.history(start.request),
        home=settle(done.home),
    )
