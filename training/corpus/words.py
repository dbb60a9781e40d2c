"""Ordinary English words and invented ones, for text whose words do not matter."""

from __future__ import annotations

import random

_VOWELS, _CONSONANTS = "aeiou", "bcdfghjklmnprstvwz"
COMMON = """
answer apple arm art aunt autumn baby back bag ball bank basket bath beach bed bell bench bicycle bird boat
body bone book boot bottle bowl box boy branch bread breakfast bridge brother brush building bus business
butter button cake camera candle car card care carpet castle chain chair chance cheese child church circle
city class clock cloth cloud coat coffee coin comb company computer cook corner country cousin cup curtain
dance daughter day desk dinner dish doctor door dream dress drink driver dust ear earth egg engine evening
exam eye face fact family farm father feather field film finger fire floor flower food foot forest fork
friend front game garden gate gift girl glass glove grass group guest guitar hair hall hammer hand hat head
heart help hill hobby holiday home homework hope horse hospital hotel hour house idea ink island job joke
journey juice jungle key kind king kitchen knife lady lake lamp language lesson letter library life light
line lip list luck lunch machine man map market match meal meat meeting memory minute mirror money moon
morning mother mountain mouth movie museum music name neck needle news night noise nose note number nurse
office oil onion paint pair paper parent park party path peace pen pencil people photo picture piece pillow
place plan plant plate pocket poem point pool post potato present price prize problem project puzzle queen
question quiz radio rain reason rest rice ring river road rock roof room rope rule salad salt sand school
science sea seat secret shadow shelf ship shirt shoe shop sister skin sky sleep smile smoke soap sock song
soup space sport spring stairs star station step stone store storm story street student sugar summer sun
table tale tea teacher team test text theatre thing ticket time toe tooth tower town toy trade train tree
trip truth turn uncle valley village visit voice walk wall watch water way week wind window wing winter
woman wood word work world yard year able bad best better brown busy calm certain clear clever common cool
dear easy famous fast free fresh funny gentle great hungry important interesting kind large late lazy long
lovely lucky modern narrow new nice old polite pretty proud quick quiet ready real right round sharp shy
silly simple slow small smart soft special strange strong sure sweet thick thin tiny tired useful warm wild
wise wrong young
""".split()


def syllables(rng: random.Random) -> str:
    """A word that means nothing and can be spoken."""
    parts = [rng.choice(_CONSONANTS) + rng.choice(_VOWELS) for _ in range(rng.randint(1, 4))]
    return "".join(parts) + rng.choice(("", rng.choice(_CONSONANTS)))
