"""Short essays in the manner of a local paper, told in beats as the stories are. See `stories`."""

from __future__ import annotations

from llama_experiments.embedded.story_plots import Plot

ESSAYS = (
    Plot(
        choices={
            "sight": ("chapel", "lighthouse", "windmill", "quarry", "old oak", "stone circle", "ruin", "spring"),
            "ground": ("a meadow", "a beech wood", "the marsh", "a vineyard", "the dunes", "open fields"),
            "season": ("spring", "summer", "autumn", "winter"),
        },
        beats=(
            (
                "There is a path from {town} to {town2} that few people know.",
                "Whoever has a free {day} in {season} should walk from {town} to {town2}.",
                "The road from {town} to {town2} is short, but the path is better.",
            ),
            (
                "It begins behind the house of {name}, a {job}, and leads through {ground}.",
                "First it crosses {ground}, where {name} the {job} keeps bees.",
            ),
            (
                "After {number} miles one comes to the {sight}.",
                "Half way there stands the {sight}, and nobody knows how old it is.",
            ),
            (
                "{friend} told me that {number2} families once lived by the {sight}.",
                "It is said that {friend}, who painted the {sight}, slept there for {number2} nights.",
                "In {month} one can see as far as the sea from here.",
            ),
            (
                "In {season} the {weather} can make {ground} hard to cross.",
                "Beware of {weather}: in {ground} it is easy to get lost.",
                "",
            ),
            (
                "I sat down by the {sight} and ate the {food} that {name} had given me.",
                "At the {sight} I met {friend}, and we shared some {food}.",
            ),
            (
                "In {town2} there is an inn, and the last bus to {town} goes at {number3}.",
                "From {town2} a bus goes back to {town} until {number3}.",
            ),
            (
                "I would go again, if only for the {food} and the {sight}.",
                "Next {month} I will go again, and {friend} will come along.",
                "Since then, when I hear the name of {town2}, I think of the {sight}.",
            ),
        ),
    ),
    Plot(
        choices={
            "dish": ("onion soup", "rye bread", "plum jam", "apple cake", "pickled beans", "potato pie", "mustard"),
            "vessel": ("an iron pot", "a clay bowl", "a copper pan", "a wooden tub", "a stone jar"),
        },
        beats=(
            (
                "In {town} nobody makes {dish} as {name} does.",
                "If you ask in {town} for {dish}, they send you to {name}.",
            ),
            (
                "{name} was a {job} for {number} years and cooked on {day} only.",
                "{he} learned it from {friend}, a {job2} in {town2}.",
            ),
            (
                "The secret is {vessel}, says {name}, and time.",
                "All it takes is {vessel} and {number2} hours, {he} says.",
                "{he} will use nothing but {vessel} that belonged to {friend}.",
            ),
            (
                "Once {stranger} came from {town2} and offered {number3} hundred crowns for the recipe.",
                "When {stranger} opened a shop for {dish} in {town2}, people were worried.",
                "One {month}, {stranger} said in public that the {dish} of {town2} was better.",
            ),
            (
                "{name} only smiled and asked {stranger} to sit down.",
                "{name} said nothing and put {vessel} on the fire.",
            ),
            (
                "They ate {dish} until the {weather} outside was over.",
                "After the third plate of {dish}, {stranger} asked for a fourth.",
            ),
            (
                "Today {stranger} comes every {day} and brings {food}.",
                "Since that {day}, {stranger} has told everyone in {town2} about it.",
            ),
            (
                "And the recipe? {name} has promised it to {friend}.",
                "As for the recipe, it is written on the wall behind {vessel}, for all to read.",
                "{name} still says that anyone could make {dish}, given {vessel}.",
            ),
        ),
    ),
)
