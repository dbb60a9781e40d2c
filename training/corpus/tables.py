"""Tables of plain facts that the corpus asks about. Common knowledge, typed in by hand."""

from __future__ import annotations


def _pairs(text: str) -> dict[str, str]:
    """`a=b; c=d` as a dict."""
    return dict(tuple(part.strip().split("=")) for part in text.split(";") if part.strip())


CAPITALS = _pairs("""
France=Paris; Germany=Berlin; Italy=Rome; Spain=Madrid; Portugal=Lisbon; Austria=Vienna;
Switzerland=Bern; Belgium=Brussels; the Netherlands=Amsterdam; Denmark=Copenhagen;
Sweden=Stockholm; Norway=Oslo; Finland=Helsinki; Iceland=Reykjavik; Ireland=Dublin;
the United Kingdom=London; England=London; Scotland=Edinburgh; Wales=Cardiff; Poland=Warsaw;
Hungary=Budapest; Romania=Bucharest; Bulgaria=Sofia; Greece=Athens; Turkey=Ankara; Ukraine=Kyiv;
Russia=Moscow; Estonia=Tallinn; Latvia=Riga; Lithuania=Vilnius; Croatia=Zagreb; Serbia=Belgrade;
Slovenia=Ljubljana; Slovakia=Bratislava; the Czech Republic=Prague; Albania=Tirana;
Malta=Valletta; Cyprus=Nicosia; Egypt=Cairo; Morocco=Rabat; Kenya=Nairobi; Nigeria=Abuja;
Ghana=Accra; Ethiopia=Addis Ababa; Senegal=Dakar; Tunisia=Tunis; Algeria=Algiers; China=Beijing;
Japan=Tokyo; South Korea=Seoul; India=New Delhi; Thailand=Bangkok; Vietnam=Hanoi;
Indonesia=Jakarta; the Philippines=Manila; Nepal=Kathmandu; Pakistan=Islamabad; Iran=Tehran;
Iraq=Baghdad; Saudi Arabia=Riyadh; Australia=Canberra; New Zealand=Wellington; Canada=Ottawa;
the United States=Washington; Mexico=Mexico City; Brazil=Brasilia; Argentina=Buenos Aires;
Chile=Santiago; Peru=Lima; Colombia=Bogota; Cuba=Havana; Uruguay=Montevideo; Venezuela=Caracas""")

CONTINENTS = _pairs("""
France=Europe; Germany=Europe; Italy=Europe; Spain=Europe; Poland=Europe; Sweden=Europe;
Norway=Europe; Greece=Europe; Ireland=Europe; Portugal=Europe; Egypt=Africa; Morocco=Africa;
Kenya=Africa; Nigeria=Africa; Ghana=Africa; Ethiopia=Africa; Senegal=Africa; China=Asia;
Japan=Asia; South Korea=Asia; India=Asia; Thailand=Asia; Vietnam=Asia; Nepal=Asia;
Canada=North America; Mexico=North America; Cuba=North America; the United States=North America;
Brazil=South America; Argentina=South America; Chile=South America; Peru=South America;
Colombia=South America""")

COLOURS = _pairs("""
the sky=blue; grass=green; snow=white; a banana=yellow; coal=black; blood=red; a lemon=yellow;
milk=white; a ripe tomato=red; a carrot=orange; a frog=green; the sun=yellow; chocolate=brown;
a flamingo=pink; a crow=black; a cucumber=green; a pumpkin=orange; salt=white; the sea=blue;
a fire engine=red; a swan=white; a polar bear=white; an elephant=grey; a leaf=green;
a strawberry=red; a cherry=red; gold=yellow; an eggplant=purple; a bear=brown; a pig=pink""")

OPPOSITES = _pairs("""
hot=cold; big=small; tall=short; fast=slow; up=down; left=right; day=night; black=white;
good=bad; happy=sad; open=closed; old=young; early=late; hard=soft; heavy=light; high=low;
full=empty; rich=poor; strong=weak; wet=dry; loud=quiet; clean=dirty; near=far; in=out; on=off;
yes=no; true=false; first=last; thick=thin; deep=shallow; wide=narrow; bright=dark; begin=end;
push=pull; buy=sell; win=lose; love=hate; north=south; east=west; inside=outside; above=below;
always=never; before=after; sweet=sour; smooth=rough; safe=dangerous; easy=difficult;
cheap=expensive; brave=afraid; asleep=awake""")

SOUNDS = _pairs("""
dog=woof; cat=meow; cow=moo; sheep=baa; duck=quack; pig=oink; horse=neigh; lion=roar;
frog=ribbit; bee=buzz; snake=hiss; owl=hoot; mouse=squeak; wolf=howl; chicken=cluck; crow=caw""")

YOUNG = _pairs("""
dog=puppy; cat=kitten; cow=calf; sheep=lamb; horse=foal; pig=piglet; duck=duckling; goat=kid;
lion=cub; bear=cub; hen=chick; frog=tadpole; deer=fawn; goose=gosling; kangaroo=joey;
swan=cygnet""")

LEGS = _pairs("""
dog=four; cat=four; cow=four; horse=four; bird=two; chicken=two; spider=eight; ant=six; bee=six;
snake=no; fish=no; frog=four; elephant=four; duck=two; beetle=six; lion=four""")

HOMES = _pairs("""
bird=nest; bee=hive; dog=kennel; horse=stable; bear=den; spider=web; pig=sty; rabbit=burrow;
lion=den; fish=water; chicken=coop; cow=barn""")

LANGUAGES = _pairs("""
France=French; Germany=German; Italy=Italian; Spain=Spanish; Portugal=Portuguese;
England=English; Sweden=Swedish; Norway=Norwegian; Denmark=Danish; Finland=Finnish;
Poland=Polish; Greece=Greek; Turkey=Turkish; Russia=Russian; Japan=Japanese; China=Chinese;
Mexico=Spanish; Brazil=Portuguese; Hungary=Hungarian; the Netherlands=Dutch; Austria=German;
Argentina=Spanish""")

SYMBOLS = _pairs("""
gold=Au; silver=Ag; iron=Fe; copper=Cu; oxygen=O; hydrogen=H; carbon=C; nitrogen=N; helium=He;
lead=Pb; sodium=Na; calcium=Ca; tin=Sn; zinc=Zn; neon=Ne""")

SHAPES = _pairs("""
triangle=three; square=four; rectangle=four; pentagon=five; hexagon=six; octagon=eight""")

QUANTITIES = {
    "days are in a week": "There are seven days in a week.",
    "months are in a year": "There are twelve months in a year.",
    "hours are in a day": "There are 24 hours in a day.",
    "minutes are in an hour": "There are 60 minutes in an hour.",
    "seconds are in a minute": "There are 60 seconds in a minute.",
    "days are in a year": "There are 365 days in a year.",
    "weeks are in a year": "There are 52 weeks in a year.",
    "years are in a century": "There are 100 years in a century.",
    "years are in a decade": "There are ten years in a decade.",
    "letters are in the alphabet": "There are 26 letters in the alphabet.",
    "wheels does a bicycle have": "A bicycle has two wheels.",
    "wheels does a car have": "A car has four wheels.",
    "fingers are on one hand": "There are five fingers on one hand.",
    "planets are in the solar system": "There are eight planets in the solar system.",
    "continents are there": "There are seven continents.",
    "metres are in a kilometre": "There are 1000 metres in a kilometre.",
    "grams are in a kilogram": "There are 1000 grams in a kilogram.",
    "centimetres are in a metre": "There are 100 centimetres in a metre.",
}

MADE_OF = _pairs("""
bread=flour; cheese=milk; butter=milk; wine=grapes; a window=glass; paper=wood; a coin=metal;
a book=paper; a pullover=wool; jam=fruit; chocolate=cocoa; an omelette=eggs; ice=water;
a brick=clay""")

WORKS = _pairs("""
teacher=school; doctor=hospital; farmer=farm; baker=bakery; pilot=plane; sailor=ship;
cook=kitchen; judge=court; librarian=library; waiter=restaurant; gardener=garden; actor=theatre""")

DAYS = tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())
MONTHS = tuple(
    (
        "January February March April May June July August September October November December"
    ).split()
)
PLANETS = tuple("Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split())
ORDINALS = tuple(
    ("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth").split()
)
NUMBER_WORDS = tuple(
    (
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen twenty"
    ).split()
)

NAMES = (
    "Anna Ben Carla David Emma Felix Grace Henry Iris Jack Kate Leo Maria Nora Oscar Paula Rosa "
    "Sam Tina Victor Wendy Yara Zoe Alice Bob Clara Dan Eva Frank Hugo Ida John Lena Max Nina "
    "Otto Peter Ruth Tom Vera"
).split()
PERSONAS = (
    "Luna Nova Atlas Pixel Sage Echo Orion Ruby Milo Juno Max Bella Robo Daisy Rex Cleo Finn "
    "Hazel Ivy Jasper Kiwi Lola Momo Nemo Opal Pepper Quill Rusty Stella Toby Una Violet Willow "
    "Zara Alfred Bruno Captain Coco Dexter Ember Flora Gizmo Hugo Indigo"
).split()
ANIMALS = (
    "fox rabbit bear mouse owl cat dog frog duck horse lion hen goat wolf crow squirrel "
    "hedgehog turtle"
).split()
FRUITS = "apple banana cherry grape lemon mango orange peach pear plum kiwi melon".split()
COLOUR_NAMES = "red blue green yellow orange purple pink brown black white grey".split()
_MORE_CITIES = "Hamburg Munich Milan Lyon Boston Chicago Toronto Sydney Osaka Mumbai Zurich"
_OTHER_CITIES = "Geneva Porto Seville Leeds York Nice"
CITIES = sorted({*CAPITALS.values(), *_MORE_CITIES.split(), *_OTHER_CITIES.split()})
INVENTED = (
    "Blorp Zandor Quimba Frello Narvia Toomland Ossiria Wexland Pruvia Galdor Mirk Yuntar"
).split()
