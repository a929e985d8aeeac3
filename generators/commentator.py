"""The commentator: a filter of frames that says what happens in a game while it is played.

It looks at the last quarter of a second as the captioner saw it in training, speaks when something
happens, and leaves each sentence on the screen for as long as a person needs to read it.

    comment = Commentator(load())
    shown = comment(frame)              sees and draws; alone in a chain of filters
    seen = comment.see(frame)           facts["caption"] is what there is to read now
    shown = draw(painted)               draws it; with a painter or a panel in between

What happens is told by a frame's facts and boxes: a reward, a life lost, something that comes close
to the player. Where frames have none, or nothing happens, it speaks every few seconds, and first as
soon as it has seen a clip. Over a game that its captioner did not learn of it is silent.

A sentence is read for seconds, and a game moves on in less. So of several sentences of which its
captioner is sure it says, where nothing happens, one that it would have said a moment ago as well,
for what has held for a while is likelier to hold on, or waits a little for one; where something
happens, one that tells of a change; and none that it has just said, if it can. Twice a second it
looks whether its captioner would still say what stands on the screen: if not, the sentence goes as
soon as there was time to read it, in haste if it does not tell of a change.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from generators.caption_views import captioned
from generators.captioner import Captioner
from playground.errors import UserError
from playground.frames import Box, Frame
from playground.subtitles import Line

SPACING = 5  # emulator frames between two of a clip, at 60 a second
FPS = 60.0
SETTLE_S = 0.1  # after an event, before it is told: so that it lies within the clip
READ_S = 0.055  # a letter: some 18 letters a second
SHORTEST_S, LONGEST_S = 1.6, 6.0  # that a sentence stays
NEWS = 2  # urgency of what has happened
URGENT_S = 0.8  # after which a sentence gives way to what is more urgent
LATE_S = 0.6  # an event that must wait longer is not told
IDLE_S = 2.5  # of silence, after which anything is told, be it as it may
LOOK_S = 0.5  # from one look at the game to the next
LOOKS = 2  # that are remembered
DRAWN = 12  # sentences to choose from, beside the likeliest
DRAWN_NEWS = 32  # the same where there is news
RECENT = 3  # sentences that are not to be said again
SURE = -3.0  # log probability of a sentence's least likely word, for the captioner to be sure of it
SURE_NEWS = -4.5  # of news, which a captioner is shy of after rewards, and tells as truly
DOUBT = -3.0  # what a word loses where it is no longer believed
LASTING = -4.0  # what a word may lack a moment ago
HASTE = 0.5  # of the time for reading
NEAR_PX, FAR_PX = 6, 20  # close from here on, and not again until it was so far away
LINES = {320: (10, 3), 10**6: (14, 2)}  # up to that width: letters' size in pixels, lines


class Told(NamedTuple):
    """A sentence, how likely each word of it was, how urgent it was, and whether it is news."""

    text: str
    belief: Tensor
    urgency: int
    news: bool


class Commentator:
    """A filter that speaks. `lines` are all sentences so far, for subtitles.

    Args:
        captioner: of clips or of pictures.
        register: its way of speaking; None: "comment" where it knows that.
        beam: of its search.
        fps: of the frames that come.
        live: captions are made in a thread, so that no frame waits for one. They then come a little
            later, and not at the same frame each time.
        news: whether a sentence tells of a change; without it, what comes upon one is taken to.
    """

    def __init__(
        self,
        captioner: Captioner,
        register: str | None = None,
        beam: int = 3,
        fps: float = FPS,
        live: bool = False,
        news: Callable[[str], bool] | None = None,
    ) -> None:
        plan = captioner.plan
        if register is None and "comment" in plan.registers:
            register = "comment"
        if register is not None and register not in plan.registers:
            known = " or ".join(plan.registers) or "one way only"
            raise UserError(f"This captioner speaks as {known}, not '{register}'.")
        self.captioner, self.register, self.beam, self.fps = captioner, register, beam, fps
        self.lines: list[Line] = []
        self._news = news
        spacing = max(1, round(SPACING * fps / FPS))
        self._steps = [i * spacing for i in range(plan.frames)]
        self._past: deque[np.ndarray] = deque(maxlen=self._steps[-1] + 1)
        self._frame = 0
        self._due: tuple[int, int] | None = None  # (frame at which to look, how urgent it is)
        self._then: np.ndarray | None = None  # the clip of that frame, which has what is news
        # The sentence on the screen stays up to this frame; before the first it was silent.
        self._until = -self._span(IDLE_S)
        self._since = 0  # it came at this one
        self._told: Told | None = None
        self._doubted = False
        self._recent: deque[str] = deque(maxlen=RECENT)
        self._looks: deque[Tensor] = deque(maxlen=LOOKS)  # the captioner's maps
        self._next_look = 0
        self._before: dict[str, Any] = {}
        self._close = False
        self._pool = ThreadPoolExecutor(1) if live else None
        self._coming: tuple[Future[Any], Callable[[Any], None]] | None = None
        self._refused: set[str] = set()  # games of which was said that nothing is said

    def __call__(self, frame: Frame) -> Frame:
        return draw(self.see(frame))

    def see(self, frame: Frame) -> Frame:
        """Take a frame in as the game drew it; the same with facts["caption"]."""
        before, now = self._before.get("play"), _play(frame.facts)
        if before != now:
            self._past.clear()
            self._looks.clear()
            self._due, self._then, self._close = None, None, False
            if self._coming is not None:
                self._coming[0].cancel()
                self._coming = None
            if before is not None and before[0] != now[0]:
                self._fall_silent()
        if self._knows(now[0]):
            self._past.append(frame.pixels)
            self._notice(frame)
            self._speak()
            self._look()
        else:
            self._before = {"play": now}
        self._frame += 1
        text = self._told.text if self._told else ""
        return replace(frame, facts={**frame.facts, "caption": text})

    def close(self) -> None:
        """End the thread, and the sentence that is on the screen.

        Of frames too few for a clip, about which nothing was said, a sentence is in `lines`.
        """
        if self._past and not self.lines and self._told is None:
            (text,) = self.captioner.caption(self._seen(list(self._past)), self.register, self.beam)
            self._told = Told(text, torch.zeros(0), 0, False)
        self._close_line()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _knows(self, game: str | None) -> bool:
        """Whether the captioner learned of a game, as far as that is known; if not, it is said."""
        games = self.captioner.games
        if not game or not games or game in games:
            return True
        if game not in self._refused:
            self._refused.add(game)
            known = ", ".join(games)
            print(f"The captioner knows {known}: of {game} it says nothing.", file=sys.stderr)
        return False

    def _fall_silent(self) -> None:
        """As at the beginning: what was said is of another game."""
        self._close_line()
        self._recent.clear()
        self._until = self._frame - self._span(IDLE_S)

    # What happens.

    def _notice(self, frame: Frame) -> None:
        """Decide whether something is to be told, and when to look."""
        facts, before = frame.facts, self._before
        lives, lost = facts.get("lives"), False
        if lives is not None and before.get("lives") is not None:
            lost = lives < before["lives"] and before["play"] == _play(facts)
        near = self._near(frame.boxes)
        urgency = 3 if lost else 2 if facts.get("reward") else 1 if near else 0
        self._before = {"lives": lives, "play": _play(facts)}
        quiet = self._frame >= self._until + self._span(IDLE_S - 1.0)
        if not urgency and not quiet:
            return
        settle = self._span(SETTLE_S) if urgency else 0
        if self._due is None or urgency > self._due[1]:
            self._due, self._then = (self._frame + settle, urgency), None

    def _near(self, boxes: tuple[Box, ...]) -> bool:
        """Whether something has just come close to the player."""
        player = next((box for box in boxes if box.name == "player"), None)
        gaps = [gap(player, box) for box in boxes if player is not None and box is not player]
        least = min(gaps, default=FAR_PX + 1)
        came = least <= NEAR_PX and not self._close
        self._close = least <= FAR_PX if self._close else least <= NEAR_PX
        return came

    # What is said.

    def _speak(self) -> None:
        if self._coming is not None and self._coming[0].done():
            (future, then), self._coming = self._coming, None
            then(future.result())
        self._take_down()
        if self._due is None or self._frame < self._due[0]:
            return
        when, urgency = self._due
        if urgency >= NEWS and self._then is None:
            self._then = self._clip()
        free = self._until
        if self._told is not None and urgency > self._told.urgency:
            free = min(free, self._since + self._span(URGENT_S))
        late = when + self._span(LATE_S)
        if free > self._frame or self._coming is not None:
            if free > late or (urgency and self._frame > late):
                self._due = self._then = None  # it will be old news
            return
        clip = self._clip() if self._then is None else self._then
        if clip is None:
            return
        self._due = self._then = None
        looks, recent = list(self._looks), set(self._recent)
        choosy = self._frame < self._until + self._span(IDLE_S)
        seed = self._frame
        self._ask(lambda: self._sentence(clip, looks, recent, urgency, choosy, seed), self._show)

    def _take_down(self) -> None:
        """The sentence, where it is no longer true, or has stood for long."""
        if self._told is None:
            return
        haste = 1.0 if self._told.news else HASTE
        enough = self._since + haste * (self._until - self._since)
        if self._doubted and self._frame >= enough:
            self._close_line()
            self._until = self._frame
            self._due = self._due or (self._frame, 0)
        elif self._frame >= self._until + self._span(1.0) and self._due is None:
            self._close_line()

    def _look(self) -> None:
        """See how things stand, and whether the sentence on the screen is still to be believed."""
        if self._frame < self._next_look or self._coming is not None:
            return
        clip, told = self._clip(), self._told
        if clip is None:
            return

        def seen() -> tuple[Tensor, bool]:
            maps = self.captioner.encode(self.captioner.fitted(clip))
            if told is None:
                return maps, False
            now = self.captioner.belief(maps, [told.text], self.register)[0]
            return maps, bool((now - told.belief[: len(now)]).min() < DOUBT)

        def noted(found: tuple[Tensor, bool]) -> None:
            self._remember(found[0])
            if told is self._told:
                self._doubted = found[1]

        self._ask(seen, noted)

    def _remember(self, maps: Tensor) -> None:
        self._looks.append(maps)
        self._next_look = self._frame + self._span(LOOK_S)

    def _ask(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Do what the captioner needs time for; with a thread its result is for a later frame."""
        if self._pool is None:
            then(work())
        else:
            self._coming = self._pool.submit(work), then

    def _clip(self) -> np.ndarray | None:
        """The newest, as the captioner takes it; None before there is one."""
        if len(self._past) < self._steps[-1] + 1:
            return None
        return self._seen([self._past[i] for i in self._steps])

    def _seen(self, frames: list[np.ndarray]) -> np.ndarray:
        """As the captioner takes it: a clip, or a picture."""
        return np.stack(frames) if self.captioner.plan.frames > 1 else frames[-1]

    def _sentence(
        self,
        clip: np.ndarray,
        looks: list[Tensor],
        recent: set[str],
        urgency: int,
        choosy: bool,
        seed: int,
    ) -> tuple[Told | None, Tensor]:
        """What is said of a clip, and its maps. choosy: rather nothing than what may not last."""
        captioner = self.captioner
        maps = captioner.encode(captioner.fitted(clip))
        texts = [captioner.tell(maps, self.register, self.beam)[0].text]
        news_due = urgency >= NEWS and self._news is not None
        count = DRAWN_NEWS if news_due else DRAWN
        texts += captioner.draw(maps, self.register, count, seed)
        texts = list(dict.fromkeys(filter(None, texts)))
        if not texts:
            return None, maps
        views = torch.cat([maps, *looks]).repeat_interleave(len(texts), 0)
        belief = captioner.belief(views, texts * (1 + len(looks)), self.register)
        now, *before = belief.unflatten(0, (-1, len(texts)))

        news = [self._news(text) if self._news else urgency >= NEWS for text in texts]

        def lasts(i: int) -> bool:
            return all(float((then[i] - now[i]).min()) > LASTING for then in before)

        def known(i: int) -> bool:
            return float(now[i].min()) > (SURE_NEWS if news_due and news[i] else SURE)

        sure = [i for i in range(len(texts)) if known(i)] or [0]
        if news_due and not any(news[i] for i in sure):
            news_due, urgency = False, 0  # as if nothing had happened
        if news_due:
            fitting = [i for i in sure if news[i]]
        elif urgency:
            fitting = [i for i in sure if not lasts(i)]
        else:
            fitting = [i for i in sure if lasts(i) and not news[i]]
        fresh = [i for i in fitting if texts[i] not in recent]
        if choosy and not fresh and not urgency:
            return None, maps
        again = fitting if news_due else []  # a point is told as the last one was
        others = [i for i in sure if texts[i] not in recent]
        best = max(fresh or again or others or sure, key=lambda i: float(now[i].sum()))
        return Told(texts[best], now[best], urgency, news[best]), maps

    def _show(self, found: tuple[Told | None, Tensor]) -> None:
        told, maps = found
        self._remember(maps)
        if told is not None and told.urgency == 0 and self._frame < self._until:
            return  # a point of which nothing is known to say breaks in on no sentence
        if told is None:
            self._due = self._due or (self._next_look, 0)
            return
        seconds = min(max(READ_S * len(told.text), SHORTEST_S), LONGEST_S)
        if self._told is None or told.text != self._told.text:
            self._close_line()
            self._since = self._frame
            self._recent.append(told.text)
        self._told, self._doubted = told, False
        self._until = self._frame + self._span(seconds)

    def _close_line(self) -> None:
        if self._told is not None:
            self.lines.append(Line(self._since, self._frame, self._told.text))
        self._told, self._doubted = None, False

    def _span(self, seconds: float) -> int:
        return round(seconds * self.fps)


def draw(frame: Frame) -> Frame:
    """The frame with facts["caption"] below it, in a band that is always of one height.

    A frame without that fact stays as it is.
    """
    text = frame.facts.get("caption")
    if text is None:
        return frame
    size, lines = next(look for width, look in LINES.items() if frame.width <= width)
    pixels = captioned(frame.pixels, text, lines, size)
    return replace(frame, pixels=pixels, text=text or frame.text)


def _play(facts: dict[str, Any]) -> tuple[Any, Any]:
    """Game and episode: a change of game begins at episode 0 again."""
    return facts.get("game"), facts.get("episode")


def gap(one: Box, other: Box) -> float:
    """Pixels between two boxes along the axis on which they are further apart; 0 if they touch."""
    across = max(one.x - other.x - other.width, other.x - one.x - one.width, 0)
    along = max(one.y - other.y - other.height, other.y - one.y - one.height, 0)
    return max(across, along)
