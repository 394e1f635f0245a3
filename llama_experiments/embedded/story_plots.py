"""The plots of the invented stories. See `stories`."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Plot:
    """What happens: per beat, the ways to tell it; an empty string among them means that it can be left out."""

    beats: tuple[tuple[str, ...], ...]
    choices: dict[str, tuple[str, ...]] = field(default_factory=dict)


PLOTS = (
    Plot(
        choices={
            "thing": ("key", "ring", "letter", "scarf", "whistle", "map", "watch", "notebook", "coin", "thimble"),
            "where": ("under the stairs", "behind the stove", "in the attic", "by the well", "in a coat pocket"),
        },
        beats=(
            ("{time}, {name} of {town} lost a {thing}.", "{name}, who lived in {town}, once lost an old {thing}."),
            (
                "It had belonged to {his} grandmother, and {he} could not do without it.",
                "It was not worth much, but {he} had promised to keep the {thing} safe.",
                "The {thing} was a present from {friend}, and {he} did not dare to tell.",
            ),
            ("{he} looked in the kitchen and in the garden.", "{he} searched the house for {number} days.", ""),
            (
                "The {weather} did not make it easier.",
                "The neighbours helped, but none of them found anything.",
                "{friend} said that it was gone for good.",
            ),
            (
                "At last {friend} asked where {he} had last seen the {thing}, and {name} thought hard.",
                "Then {friend} came by with a basket of {food} and looked around.",
            ),
            (
                "There it was, {where}, as if it had never been away.",
                "It was {friend} who found the {thing}, {where}.",
                "They found it {where}, covered in dust.",
            ),
            (
                "{name} thanked {friend} and never lost the {thing} again.",
                "From then on {name} kept the {thing} on a nail by the door.",
                "{name} laughed, and they shared the {food} at the table.",
            ),
        ),
    ),
    Plot(
        choices={
            "thing": ("boat", "kite", "cart", "bench", "bookcase", "sledge", "shed", "rowing boat", "bridge"),
            "stuff": ("oak", "pine", "birch", "willow", "ash"),
            "tool": ("saw", "hammer", "plane", "chisel", "drill"),
        },
        beats=(
            (
                "{name} wanted to build a {thing} of {stuff} before the end of {month}.",
                "{time}, {name} decided to build a {thing}, and nobody in {town} believed it.",
            ),
            (
                "{he} bought the {stuff} from {friend}, who had a yard near {town}.",
                "{friend} lent {him} a {tool} and wished {him} luck.",
                "{he} had a {tool}, some {stuff} and no plan at all.",
            ),
            (
                "For {number} weeks {he} worked every evening.",
                "The first {thing} fell apart after {number} days.",
                "{he} measured everything twice and still cut one board too short.",
            ),
            (
                "Then the {tool} broke, and there was no money for another.",
                "Then came the {weather}, and the {stuff} was too wet to use.",
                "Then {he} hurt a hand and had to rest for {number} days.",
            ),
            (
                "But {friend} came with {food} and a better {tool}.",
                "But {friend} knew what to do and stayed until dark.",
                "{name} nearly gave up, but {friend} would not hear of it.",
            ),
            (
                "When the {thing} was ready, half of {town} came to look.",
                "On a {day} in {month} the {thing} was done, and it held.",
                "In the end the {thing} was a little crooked, and {name} liked it that way.",
            ),
            (
                "{he} painted the name of {friend} on its side.",
                "The {thing} is still there, and the {stuff} has turned gray.",
                "{name} gave back the {tool} and began to dream of a second {thing}.",
            ),
        ),
    ),
    Plot(
        choices={
            "thing": ("parcel", "clock", "mirror", "painting", "sack of flour", "crate of {food}", "cello", "cake"),
            "way": ("on foot", "by train", "on a borrowed bicycle", "by boat", "on the back of a cart"),
        },
        beats=(
            (
                "{name} had to bring a {thing} from {town} to {town2}.",
                "{time}, {friend} asked {name} to bring a {thing} to {town2}.",
            ),
            ("{he} set out from {town} {way}.", "There was no bus, so {he} went {way}."),
            (
                "The road was {number} miles long.",
                "After {number} miles {he} sat down and ate some {food}.",
                "{he} had {food} in one pocket and a map in the other.",
                "",
            ),
            (
                "Half way there, the {weather} began, and {name} could not see the road.",
                "At the river the bridge was closed because of the {weather}.",
                "In a village {he} took the wrong turn and lost {number} hours.",
            ),
            (
                "A {job} named {stranger} took {him} in for the night and would take no money.",
                "Luckily {stranger}, a {job}, knew another way and came along.",
                "{he} hid the {thing} in a barn, where {stranger} the {job} found them both.",
            ),
            (
                "The next morning {name} thanked {stranger} and carried the {thing} on to {town2}.",
                "In the morning the {weather} was over, and {stranger} showed {him} the road to {town2}.",
            ),
            (
                "The {thing} arrived in one piece, {number} days late.",
                "{friend} was waiting in {town2} and had not worried at all.",
                "When {he} put the {thing} down in {town2}, {his} arms would not bend.",
            ),
            (
                "Every year after that, {name} sent {food} to {stranger}.",
                "{name} went home to {town} and told everyone about {stranger}.",
                "Since then {name} and {stranger} have been friends.",
            ),
        ),
    ),
    Plot(
        choices={
            "animal": ("dog", "cat", "goose", "goat", "pony", "crow", "hen", "donkey", "lamb"),
            "place": ("barn", "orchard", "mill", "church", "school", "market hall", "bakery", "station"),
        },
        beats=(
            (
                "{time}, a {animal} walked into the {place} at {town}.",
                "There was once a {animal} that lived behind the {place} at {town}.",
            ),
            (
                "Nobody knew whose {animal} it was, except perhaps {name}.",
                "{name}, who worked at the {place}, found it first.",
            ),
            (
                "{he} gave it {food} and water.",
                "It was thin and tired, and it liked {food}.",
                "It was afraid of {weather}.",
            ),
            (
                "But {stranger}, who owned the {place}, said that no {animal} could stay there.",
                "But {stranger} wanted to sell the {animal} at the market in {town2}.",
                "Then it ate the hat of {stranger}, and there was trouble.",
            ),
            (
                "So {name} took the {animal} home and hid it for {number} days.",
                "{name} asked for {number} days, and {stranger} agreed.",
            ),
            (
                "One night there was a fire in the {place}, and the {animal} woke everyone.",
                "One night, in the {weather}, {stranger} was lost, and the {animal} led the way home.",
                "Then a thief came to the {place}, and the {animal} chased him as far as {town2}.",
            ),
            (
                "After that {stranger} brought {food} for the {animal} every {day}.",
                "{stranger} never spoke of selling it again.",
                "The next day {stranger} came to {name} to say sorry.",
            ),
            (
                "The {animal} lived at the {place} for {number} more years.",
                "{name} called the {animal} {town2}, and nobody remembers why.",
                "There is a picture of the {animal} in the {place} to this day.",
            ),
        ),
    ),
    Plot(
        choices={
            "skill": ("swim", "sing", "play the flute", "bake", "ride", "paint", "skate", "dance", "play chess"),
            "event": ("the fair", "the harvest supper", "the winter games", "the spring feast", "the school party"),
        },
        beats=(
            (
                "{name} of {town} could not {skill}, and {event} was only {number} weeks away.",
                "All {name} wanted was to {skill} at {event} in {town}.",
            ),
            (
                "{his} brothers laughed and said that {he} would never learn to {skill}.",
                "{he} had tried it once, in the {weather}, and it had ended badly.",
                "",
            ),
            (
                "So {he} went to {friend}, an old {job}, and asked for help.",
                "Only {friend}, the {job}, offered to teach {him}.",
            ),
            (
                "They met every {day} behind the house, where nobody could see them.",
                "{friend} was strict, but there was always some {food} afterwards.",
                "Every {day} they practised for {number} hours.",
            ),
            (
                "After {number2} lessons {name} wanted to stop.",
                "For a long time nothing seemed to get better.",
                "Then {friend} fell ill, and {name} had to go on alone.",
            ),
            (
                "But {he} remembered what {friend} had said: slowly first, then well.",
                "But {name} was too proud to give up.",
            ),
            (
                "On the day of {event} there was {weather}, and everybody came all the same.",
                "At {event} {his} hands were shaking.",
                "When {event} came, {name} was the last in line.",
            ),
            (
                "{name} did not win, but {friend} stood in the front row and clapped.",
                "Nobody laughed any more, and {friend} wept a little.",
                "And who would have thought it: {name} could {skill} better than anyone in {town}.",
            ),
            (
                "The year after, it was {name} who taught the others to {skill}.",
                "That evening {name} and {friend} ate {food} and said very little.",
                "",
            ),
        ),
    ),
)
