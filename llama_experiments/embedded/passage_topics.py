"""What the invented passages tell and what is asked about them. See `passages`."""

from __future__ import annotations

from dataclasses import dataclass

from llama_experiments.embedded import words

# Years are not among them: `passages` draws those in order.
CHOICES: dict[str, tuple[str, ...]] = {
    "person": tuple(f"{name} {surname}" for name in words.NAMES for surname in words.SURNAMES),
    "town": words.TOWNS,
    "number": tuple(str(number) for number in range(13, 990)),
    "date": tuple(f"{day} {month}" for month in words.MONTHS for day in range(2, 29)),
    "day": words.DAYS,
    "job": words.listed(
        """baker clerk gardener tailor postman carpenter teacher nurse printer librarian painter surgeon lawyer
        blacksmith clockmaker captain farmer chemist weaver brewer"""
    ),
    "stone": ("granite", "sandstone", "limestone", "marble", "slate", "red brick"),
    "wood": ("oak", "pine", "walnut", "larch", "chestnut", "beech"),
    "goods": ("gloves", "clocks", "bicycles", "buttons", "lamps", "pianos", "ropes", "kettles", "carpets", "bells"),
    "beast": ("heron", "otter", "stag", "fox", "owl", "hare", "swan", "badger", "wolf"),
    "colour": ("blue", "green", "yellow", "crimson", "white", "purple", "orange"),
    "dish": ("pea soup", "plum cake", "smoked trout", "rye bread", "goat cheese", "apple pie", "barley stew"),
    "cause": ("a flood", "a fire", "a storm", "an earthquake", "a heavy frost", "a landslide"),
    "river": ("Arrel", "Bourne", "Cale", "Dorn", "Esker", "Lune", "Mede", "Nadder", "Teme", "Wray"),
    "subject": ("botany", "music", "law", "medicine", "chemistry", "geometry", "history", "astronomy"),
}


@dataclass(frozen=True)
class Fact:
    """The ways to tell it, and what can be asked: a question with the slot that answers it.

    A question may use the slots of its own fact and of the topic's first, which is always told.
    """

    told: tuple[str, ...]
    asked: tuple[tuple[str, str], ...]


TOPICS: dict[str, tuple[Fact, ...]] = {
    "The bridge at {town}": (
        Fact(
            (
                "The bridge at {town} crosses the river {river} and was opened in {year}.",
                "In {year}, a bridge over the river {river} was opened at {town}.",
            ),
            (
                ("In which year was the bridge at {town} opened?", "year"),
                ("Which river does the bridge at {town} cross?", "river"),
            ),
        ),
        Fact(
            ("It was designed by {person}, a {job} by trade.", "Its designer, {person}, had been a {job}."),
            (("Who designed the bridge?", "person"), ("What was the trade of {person}?", "job")),
        ),
        Fact(
            ("{person2} paid for the {stone} of its piers.", "Its piers are of {stone}, paid for by {person2}."),
            (("Who paid for the piers?", "person2"), ("What are the piers made of?", "stone")),
        ),
        Fact(
            ("It is {number} metres long and rests on {number2} piles of {wood}.",),
            (
                ("How many metres long is the bridge?", "number"),
                ("On how many piles does the bridge rest?", "number2"),
                ("Of which wood are the piles?", "wood"),
            ),
        ),
        Fact(
            ("In {year2} it was badly damaged by {cause}.", "It was closed after {cause} in {year2}."),
            (("When was the bridge damaged?", "year2"), ("What damaged the bridge?", "cause")),
        ),
        Fact(
            ("{person3} rebuilt it in {year3}.", "It was rebuilt in {year3} by {person3}."),
            (("Who rebuilt the bridge?", "person3"), ("In which year was the bridge rebuilt?", "year3")),
        ),
        Fact(
            ("A second bridge, at {town2}, carries the railway.", "Trains use another bridge, at {town2}."),
            (("Where is the railway bridge?", "town2"),),
        ),
    ),
    "The life of {person}": (
        Fact(
            (
                "{person} was born in {town} in {year}.",
                "{person}, later known as a {job}, was born in {town} in {year}.",
            ),
            (("Where was {person} born?", "town"), ("In which year was {person} born?", "year")),
        ),
        Fact(
            ("A cousin, {person2}, kept a shop in {town2}.", "A shop in {town2} belonged to a cousin, {person2}."),
            (("Who kept a shop?", "person2"), ("Where was the shop?", "town2")),
        ),
        Fact(
            ("At school in {town3}, {person3} taught the child {subject}.",),
            (
                ("Where did {person} go to school?", "town3"),
                ("Who taught {person}?", "person3"),
                ("What did {person3} teach?", "subject"),
            ),
        ),
        Fact(
            ("From {year2} on, {person} worked as a {job2} and studied {subject2} at night.",),
            (("What did {person} work as?", "job2"), ("What did {person} study at night?", "subject2")),
        ),
        Fact(
            ("A book about {goods} came out in {year3} and sold {number} copies.",),
            (
                ("When did the book come out?", "year3"),
                ("How many copies of the book were sold?", "number"),
                ("What was the book about?", "goods"),
            ),
        ),
        Fact(
            ("The house was left to {person4}, a {job3}.", "A {job3} named {person4} got the house."),
            (("Who got the house?", "person4"), ("What was the trade of {person4}?", "job3")),
        ),
    ),
    "The {goods} of {town}": (
        Fact(
            (
                "The factory at {town} has made {goods} since {year}.",
                "Since {year}, {goods} have been made in a factory at {town}.",
            ),
            (
                ("What does the factory at {town} make?", "goods"),
                ("Since when has the factory made {goods}?", "year"),
            ),
        ),
        Fact(
            ("It was founded by {person}, who had been a {job}.", "Its founder, {person}, was a {job} at first."),
            (("Who founded the factory?", "person"), ("What was {person} at first?", "job")),
        ),
        Fact(
            ("Its first hall stood in {town2} and was built of {stone}.",),
            (("Where did the first hall stand?", "town2"), ("What was the first hall built of?", "stone")),
        ),
        Fact(
            ("In {year2} there were {number} workers.", "By {year2}, {number} people worked there."),
            (("How many workers were there in {year2}?", "number"), ("When were there {number} workers?", "year2")),
        ),
        Fact(
            ("After {cause} in {year3}, {person2} sold {number2} shares to pay for the repairs.",),
            (
                ("Who sold shares?", "person2"),
                ("How many shares were sold?", "number2"),
                ("Why were repairs needed?", "cause"),
            ),
        ),
        Fact(
            ("Its sign shows a {colour} {beast}.", "A {colour} {beast} is painted on the gate."),
            (("Which animal is the sign of the factory?", "beast"), ("What colour is the {beast}?", "colour")),
        ),
    ),
    "The {beast} feast of {town}": (
        Fact(
            (
                "Every year on {date}, the people of {town} hold the {beast} feast.",
                "The {beast} feast of {town} is held on {date}.",
            ),
            (("When is the {beast} feast held?", "date"), ("Where is the {beast} feast held?", "town")),
        ),
        Fact(
            ("{person}, a {job}, began it in {year}.", "It goes back to {year} and to a {job} named {person}."),
            (("Who began the feast?", "person"), ("In which year did the feast begin?", "year")),
        ),
        Fact(
            ("Guests from {town2} wear {colour} hats.", "Those from {town2} are known by their {colour} hats."),
            (("Where do the guests with {colour} hats come from?", "town2"), ("What colour are the hats?", "colour")),
        ),
        Fact(
            ("There is {dish} for everyone, cooked by {person2}.", "{person2} cooks {dish} for all."),
            (("Who cooks at the feast?", "person2"), ("What is cooked at the feast?", "dish")),
        ),
        Fact(
            ("On {date2}, one group rehearses; the last rehearsal drew {number} visitors.",),
            (("When is the rehearsal?", "date2"), ("How many visitors did the rehearsal draw?", "number")),
        ),
        Fact(
            ("Because of {cause}, no feast was held in {year2}.", "In {year2} it was cancelled because of {cause}."),
            (("In which year was there no feast?", "year2"), ("Why was the feast cancelled?", "cause")),
        ),
    ),
    "The school at {town}": (
        Fact(
            ("The school at {town} was built of {stone} in {year}.", "In {year}, {town} built a school of {stone}."),
            (("When was the school at {town} built?", "year"), ("What was the school built of?", "stone")),
        ),
        Fact(
            ("{person} taught {subject} there.", "The lessons in {subject} were given by {person}."),
            (("Who taught {subject}?", "person"), ("What did {person} teach?", "subject")),
        ),
        Fact(
            ("{person2}, who taught {subject2}, came from {town2}.",),
            (("Where did {person2} come from?", "town2"), ("Which subject did {person2} teach?", "subject2")),
        ),
        Fact(
            ("In {year2}, {number} girls and {number2} boys went there.",),
            (
                ("How many girls went to the school?", "number"),
                ("How many boys went to the school?", "number2"),
            ),
        ),
        Fact(
            ("The benches, made of {wood}, were a gift of {person3}.", "{person3} gave it benches of {wood}."),
            (("Who gave the benches?", "person3"), ("Of which wood are the benches?", "wood")),
        ),
        Fact(
            ("Lunch on {day} is {dish}, and the coat of arms shows a {beast}.",),
            (("What is for lunch on {day}?", "dish"), ("What does the coat of arms show?", "beast")),
        ),
        Fact(
            ("It moved to {town3} after {cause} in {year3}.", "After {cause} in {year3} it moved to {town3}."),
            (("Where did the school move?", "town3"), ("When did the school move?", "year3")),
        ),
    ),
}
