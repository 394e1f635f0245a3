"""What the invented reviews are about, and what they say besides their verdict. See `reviews`."""

from __future__ import annotations

# Kind of subject: its group (which filler sentences suit it) and its aspects, all singular.
SUBJECTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "film": ("shown", ("opening", "dialogue", "music", "ending", "plot", "camera work")),
    "play": ("shown", ("first act", "staging", "lighting", "ending", "cast", "script")),
    "concert": ("shown", ("first half", "sound", "programme", "encore", "singing", "lighting")),
    "musical": ("shown", ("dancing", "singing", "story", "finale", "orchestra", "stage set")),
    "novel": ("read", ("first chapter", "plot", "style", "ending", "heroine", "dialogue")),
    "cookbook": ("read", ("layout", "photography", "advice", "chapter on soup", "index", "writing")),
    "biography": ("read", ("introduction", "research", "style", "middle part", "last chapter", "cover")),
    "album": ("read", ("first song", "singing", "guitar work", "cover", "mixing", "last song")),
    "restaurant": ("place", ("soup", "service", "bread", "dessert", "wine list", "dining room")),
    "hotel": ("place", ("bed", "breakfast", "lobby", "room", "view", "service")),
    "cafe": ("place", ("coffee", "cake", "terrace", "service", "music", "breakfast")),
    "museum": ("place", ("tour", "lighting", "collection", "gift shop", "garden", "audio guide")),
    "campsite": ("place", ("shower block", "view", "kitchen", "lake", "shop", "welcome")),
    "kettle": ("goods", ("handle", "lid", "spout", "finish", "packaging", "switch")),
    "lamp": ("goods", ("shade", "switch", "light", "stand", "colour", "cable")),
    "backpack": ("goods", ("zip", "lining", "shape", "strap", "front pocket", "colour")),
    "umbrella": ("goods", ("handle", "fabric", "frame", "cover", "colour", "button")),
    "radio": ("goods", ("sound", "dial", "display", "case", "reception", "manual")),
    "bicycle": ("goods", ("saddle", "bell", "frame", "braking", "paintwork", "gear change")),
    "app": ("software", ("menu", "search", "design", "help page", "calendar", "start screen")),
    "game": ("software", ("first level", "music", "story", "control scheme", "artwork", "final level")),
    "website": ("software", ("layout", "search", "checkout", "help page", "design", "front page")),
}

# Sentences that name the subject, by group.
OPENINGS: dict[str, tuple[str, ...]] = {
    "shown": ("We went to see a {kind}.", "This is about the {kind} in town.", "It was our first {kind} this year."),
    "read": ("I picked up a new {kind}.", "This is about a {kind}.", "A few words about this {kind}."),
    "place": ("We tried the new {kind}.", "This is about a small {kind}.", "A few words about this {kind}."),
    "goods": ("I needed a new {kind}.", "This is about my new {kind}.", "A few words about this {kind}."),
    "software": ("I tried the new {kind}.", "This is about a {kind}.", "A few words about this {kind}."),
}

# Sentences without a verdict, by group; "any" suits all.
FILLERS: dict[str, tuple[str, ...]] = {
    "any": (
        "That is all I have to say.",
        "I write this on a {day} in {month}.",
        "{relation} paid for it.",
        "I heard about it from {relation}.",
        "I took notes for {relation}, who could not come along.",
        "This was in {month}, if that matters.",
        "I do not review things often.",
    ),
    "shown": (
        "We saw it on a {day} evening.",
        "I went with {relation} in {month}.",
        "It lasted about {number} hours with the break.",
        "Our seats were in row {number}.",
        "The hall was half full on that {day}.",
    ),
    "read": (
        "I borrowed it from {relation} in {month}.",
        "It took me {number} evenings.",
        "I had it with me on the train on {day}.",
        "It came out in {month}.",
        "It was a present from {relation}.",
    ),
    "place": (
        "We stopped there on a {day} in {month}.",
        "There were {number} of us.",
        "We stayed for {number} hours.",
        "It is {number} minutes from the station.",
        "I was there with {relation} on {day}.",
    ),
    "goods": (
        "I bought it in {month}.",
        "It was delivered on a {day}.",
        "I have had it for {number} weeks.",
        "I use it about {number} times a week.",
        "It replaces one that I had for {number} years.",
    ),
    "software": (
        "I have used it since {month}.",
        "I tried it for {number} days.",
        "I installed the new version on {day}.",
        "{relation} and I both have it now.",
        "I spent {number} hours with it.",
    ),
}

# Opinions that are not about the subject: a reader must leave them out.
ASIDES = (
    "The weather that {day} was {any}, not that it matters.",
    "The soup I had afterwards was {any}, for that matter.",
    "The bus ride home was {any}, but that is another matter.",
    "The shop next door is {any}, for what it is worth.",
)
