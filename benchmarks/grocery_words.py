"""Recipes and how-tos for the fruit and vegetables of the evaluation data, in our own words: the test catalogue's text.

`GROCERIES` maps the data's class to what people call it, what it belongs to, three dishes and two jobs; `items` makes
catalogue items of them, in the form of the demo's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["GROCERIES", "Grocery", "items"]


@dataclass(frozen=True)
class Grocery:
    """One fruit or vegetable. A dish is "title: what is done", a job is "title: how it is done"."""

    word: str
    kin: tuple[str, ...]
    dishes: tuple[str, ...]
    jobs: tuple[str, ...]


_FRUIT, _CITRUS, _STONE, _TROPICAL = (
    ("fruit",),
    ("citrus", "fruit"),
    ("stone fruit", "fruit"),
    ("tropical fruit", "fruit"),
)
_VEGETABLE, _ROOT, _BULB = ("vegetable",), ("root vegetable", "vegetable"), ("vegetable",)
GROCERIES = {
    "Apple": Grocery(
        "apple",
        _FRUIT,
        (
            "Baked apples with walnuts: Core them, fill the hollow with nuts and honey and bake until the skin splits.",
            "Apple crumble: Slice, cover with butter rubbed into flour and sugar, and bake for forty minutes.",
            "Apple and celery salad: Cut both into sticks and dress with yoghurt and lemon.",
        ),
        (
            "Keep apples through the winter: Lay them apart on slatted shelves in a cold dark room.",
            "Core an apple without a corer: Quarter it and cut the core out with two slanting cuts.",
        ),
    ),
    "Asparagus": Grocery(
        "asparagus",
        _VEGETABLE,
        (
            "Asparagus with soft eggs: Boil the spears for five minutes and serve them with eggs and butter.",
            "Roasted asparagus: Toss with oil and salt and give it ten minutes in a hot oven.",
            "Asparagus risotto: Stir the cut stems into the rice and keep the tips for the end.",
        ),
        (
            "Peel asparagus: Hold the spear below its tip and draw the peeler to the foot.",
            "Keep asparagus fresh: Stand it in a glass with two fingers of water, in the fridge.",
        ),
    ),
    "Aubergine": Grocery(
        "aubergine",
        _VEGETABLE,
        (
            "Smoky aubergine dip: Char it over a flame, scoop the flesh and beat it with sesame paste.",
            "Aubergine bake: Layer fried slices with tomato sauce and cheese and bake until brown.",
            "Miso aubergine: Halve, score, brush with miso and grill until it gives way to a spoon.",
        ),
        (
            "Salt an aubergine: Strew the slices with salt, wait half an hour and pat them dry.",
            "Choose an aubergine: It is heavy, its skin shines, and a dent springs back.",
        ),
    ),
    "Avocado": Grocery(
        "avocado",
        _FRUIT,
        (
            "Guacamole: Mash with lime, chilli, coriander and salt, and leave it coarse.",
            "Avocado on toast: Slice onto toasted rye and finish with pepper and an egg.",
            "Chilled avocado soup: Blend with yoghurt, cucumber and mint and serve it cold.",
        ),
        (
            "Ripen an avocado: Put it in a paper bag with a banana for two days.",
            "Stone an avocado: Halve it round the stone, twist, and lift the stone with a spoon.",
        ),
    ),
    "Banana": Grocery(
        "banana",
        _TROPICAL,
        (
            "Banana bread: Mash three spotted ones into a batter and bake it for an hour.",
            "Fried bananas: Brown them in butter and pour rum or orange juice into the pan.",
            "Banana porridge: Slice into the oats for the last two minutes.",
        ),
        (
            "Keep bananas from turning brown: Wrap the stalks and hang the bunch away from apples.",
            "Freeze bananas: Peel, slice and freeze them apart on a tray.",
        ),
    ),
    "Cabbage": Grocery(
        "cabbage",
        _VEGETABLE,
        (
            "Cabbage rolls: Fill blanched leaves with rice and mince and braise them in tomato.",
            "Coleslaw: Shred finely with carrot and dress with mustard and cream.",
            "Fried cabbage with caraway: Cut in ribbons and fry until the edges brown.",
        ),
        (
            "Make sauerkraut: Knead shreds with salt and press them under their own juice for weeks.",
            "Shred a cabbage: Quarter it, cut the core out and slice across the leaves.",
        ),
    ),
    "Carrots": Grocery(
        "carrot",
        _ROOT,
        (
            "Carrot cake: Grate into an oily batter with cinnamon and nuts.",
            "Glazed carrots: Simmer with butter, a little sugar and water until they shine.",
            "Carrot and ginger soup: Cook soft with ginger and blend with orange juice.",
        ),
        (
            "Grow carrots in a tub: Sow thinly in deep sandy soil and keep it moist.",
            "Store carrots in sand: Twist the leaves off and lay the roots in damp sand.",
        ),
    ),
    "Cucumber": Grocery(
        "cucumber",
        _VEGETABLE,
        (
            "Cucumber salad with dill: Slice thinly, salt, squeeze, and dress with vinegar and dill.",
            "Tzatziki: Grate, drain and stir into thick yoghurt with garlic.",
            "Smashed cucumbers: Crush with the flat of a knife and toss with sesame oil.",
        ),
        (
            "Pickle cucumbers: Pour hot spiced vinegar over them in clean jars.",
            "Seed a cucumber: Halve it along and draw a teaspoon through.",
        ),
    ),
    "Garlic": Grocery(
        "garlic",
        _BULB,
        (
            "Roasted garlic: Cut the top off the bulb, oil it and bake it in foil.",
            "Garlic bread: Spread butter beaten with garlic and parsley into a cut loaf.",
            "Garlic soup: Simmer twenty cloves in stock and pour over bread and an egg.",
        ),
        (
            "Peel garlic quickly: Shake the cloves hard between two bowls.",
            "Plait garlic: Braid the dry stems and hang the plait in an airy place.",
        ),
    ),
    "Ginger": Grocery(
        "ginger",
        ("spice", "root vegetable"),
        (
            "Ginger tea: Steep thin slices in boiling water with lemon and honey.",
            "Gingerbread: Stir into a dark batter with treacle and bake it slowly.",
            "Ginger chicken: Fry matchsticks of it with soy sauce and spring onions.",
        ),
        (
            "Peel ginger with a spoon: Scrape the skin off along its knobs.",
            "Freeze ginger: Freeze it whole and grate what is needed.",
        ),
    ),
    "Kiwi": Grocery(
        "kiwi",
        _TROPICAL,
        (
            "Kiwi pavlova: Heap slices on meringue and cream.",
            "Kiwi smoothie: Blend with spinach, banana and apple juice.",
            "Kiwi salsa: Dice with chilli and red onion for grilled fish.",
        ),
        (
            "Tell a ripe kiwi: It gives to the thumb at the stalk's end.",
            "Peel a kiwi: Cut both ends off and turn a spoon under the skin.",
        ),
    ),
    "Leek": Grocery(
        "leek",
        _VEGETABLE,
        (
            "Leek and potato soup: Sweat rings in butter, add potato and stock and blend.",
            "Leek tart: Fill short pastry with soft leeks, eggs and cream.",
            "Leeks vinaigrette: Boil them whole and dress them warm with mustard.",
        ),
        (
            "Wash a leek: Slit it to the root and rinse between the leaves.",
            "Blanch leeks in the garden: Earth the stems up as they grow.",
        ),
    ),
    "Lemon": Grocery(
        "lemon",
        _CITRUS,
        (
            "Lemon tart: Fill baked pastry with lemon juice, eggs and sugar and let it set.",
            "Lemonade: Stir juice and zest with sugar and cold water.",
            "Lemon chicken: Roast the bird over slices with thyme.",
        ),
        (
            "Preserve lemons in salt: Pack quartered lemons with salt and wait a month.",
            "Get more juice from a lemon: Roll it under the palm before it is cut.",
        ),
    ),
    "Lime": Grocery(
        "lime",
        _CITRUS,
        (
            "Key lime pie: Set lime juice and condensed milk on a crumb base.",
            "Ceviche: Cure diced fish in lime juice with chilli and coriander.",
            "Lime and mint cooler: Crush wedges with sugar and mint and top with soda.",
        ),
        (
            "Zest a lime: Draw it over the grater and stop at the white.",
            "Keep limes juicy: Store them in a closed jar of water in the fridge.",
        ),
    ),
    "Mango": Grocery(
        "mango",
        _TROPICAL,
        (
            "Mango lassi: Blend with yoghurt, cardamom and ice.",
            "Mango sticky rice: Serve slices with sweet coconut rice.",
            "Mango chutney: Boil with vinegar, ginger and sugar until thick.",
        ),
        (
            "Cut a mango: Slice beside the flat stone and score the cheeks in squares.",
            "Ripen a mango: Leave it in rice for two days.",
        ),
    ),
    "Melon": Grocery(
        "melon",
        _FRUIT,
        (
            "Melon with ham: Lay thin ham over chilled wedges.",
            "Melon granita: Freeze the puree and scrape it with a fork.",
            "Melon and feta salad: Toss cubes with feta, mint and oil.",
        ),
        (
            "Choose a melon: Knock, listen for a dull sound, and smell the end.",
            "Cut melon balls: Turn a small scoop into the flesh to its full depth.",
        ),
    ),
    "Mushroom": Grocery(
        "mushroom",
        _VEGETABLE,
        (
            "Mushrooms on toast: Fry them hard in butter with garlic and pile on bread.",
            "Mushroom stroganoff: Simmer in sour cream and paprika and serve with noodles.",
            "Stuffed mushrooms: Fill the caps with crumbs and herbs and bake.",
        ),
        (
            "Clean mushrooms: Brush them, and never soak them.",
            "Dry mushrooms: Slice and dry them for six hours in a barely warm oven.",
        ),
    ),
    "Nectarine": Grocery(
        "nectarine",
        _STONE,
        (
            "Grilled nectarines: Halve, stone and grill them, and serve with ricotta.",
            "Nectarine tart: Fan slices over almond cream and bake.",
            "Nectarine and tomato salad: Toss wedges with basil and oil.",
        ),
        (
            "Stone a nectarine: Cut along the seam and twist the halves apart.",
            "Ripen nectarines: Leave them stalk down on a cloth for two days.",
        ),
    ),
    "Onion": Grocery(
        "onion",
        _BULB,
        (
            "Onion soup: Brown sliced onions for an hour, add stock, and gratinate with bread.",
            "Onion bhaji: Fry rings in a spiced batter of chickpea flour.",
            "Onion jam: Cook slowly with vinegar and sugar until dark.",
        ),
        (
            "Chop an onion without tears: Chill it and keep the root on to the last.",
            "Dry onions after the harvest: Spread them in the sun until the skins rustle.",
        ),
    ),
    "Orange": Grocery(
        "orange",
        _CITRUS,
        (
            "Orange marmalade: Boil shredded peel soft, add sugar and cook to the set.",
            "Orange and fennel salad: Slice both thinly with olives.",
            "Orange cake: Boil whole oranges, blend them and bake with almonds.",
        ),
        (
            "Segment an orange: Cut the peel to the flesh and slice between the skins.",
            "Candy orange peel: Blanch strips three times and simmer them in syrup.",
        ),
    ),
    "Papaya": Grocery(
        "papaya",
        _TROPICAL,
        (
            "Green papaya salad: Pound shreds with lime, chilli and fish sauce.",
            "Papaya with lime: Chill halves and squeeze lime over them.",
            "Papaya smoothie: Blend with coconut milk and ginger.",
        ),
        (
            "Seed a papaya: Halve it along and scoop the black seeds out.",
            "Tell a ripe papaya: Its skin is more yellow than green and gives a little.",
        ),
    ),
    "Passion-Fruit": Grocery(
        "passion fruit",
        _TROPICAL,
        (
            "Passion fruit curd: Thicken the pulp with eggs, sugar and butter.",
            "Passion fruit mousse: Fold the pulp into cream and condensed milk.",
            "Passion fruit cordial: Simmer the pulp with sugar and strain it.",
        ),
        (
            "Open a passion fruit: Cut the cap off as from an egg and spoon the pulp.",
            "Choose a passion fruit: The most wrinkled are the sweetest.",
        ),
    ),
    "Peach": Grocery(
        "peach",
        _STONE,
        (
            "Peach cobbler: Bake slices under spoonfuls of soft dough.",
            "Poached peaches: Simmer halves in wine and vanilla.",
            "Peach chutney: Cook with onion, vinegar and mustard seeds.",
        ),
        (
            "Skin a peach: Dip it in boiling water, then in ice, and slip the skin off.",
            "Bottle peaches: Pack halves in jars with syrup and heat them.",
        ),
    ),
    "Pear": Grocery(
        "pear",
        _FRUIT,
        (
            "Pears in red wine: Simmer them whole with cinnamon until they are dark.",
            "Pear and blue cheese salad: Slice over leaves with walnuts.",
            "Pear clafoutis: Pour batter over quarters and bake.",
        ),
        (
            "Ripen pears: Bring them from the cold into the room for some days.",
            "Keep cut pears white: Lay them in water with lemon.",
        ),
    ),
    "Pepper": Grocery(
        "bell pepper",
        _VEGETABLE,
        (
            "Stuffed peppers: Fill with rice, mince and herbs and bake in tomato sauce.",
            "Pepper and chorizo stew: Cook strips soft with onion and paprika.",
            "Roasted pepper dip: Blend charred peppers with walnuts and crumbs.",
        ),
        (
            "Skin peppers: Char them under the grill and rub the skin off in a closed bowl.",
            "Seed a pepper: Cut round the stalk and shake the core out.",
        ),
    ),
    "Pineapple": Grocery(
        "pineapple",
        _TROPICAL,
        (
            "Pineapple upside-down cake: Set rings in caramel and bake batter over them.",
            "Grilled pineapple: Brush wedges with rum and sugar and grill them.",
            "Pineapple fried rice: Toss cubes with rice, cashews and curry powder.",
        ),
        (
            "Cut a pineapple: Slice the skin off and cut the eyes out in spirals.",
            "Grow a pineapple from its crown: Twist the crown off, dry and plant it.",
        ),
    ),
    "Plum": Grocery(
        "plum",
        _STONE,
        (
            "Plum cake: Press halves into yeast dough and bake with cinnamon.",
            "Plum sauce: Boil with star anise and vinegar for duck.",
            "Plum dumplings: Wrap stoned plums in potato dough and boil them.",
        ),
        (
            "Stone plums: Cut round the seam and twist.",
            "Dry plums: Halve them and dry them all night in a low oven.",
        ),
    ),
    "Pomegranate": Grocery(
        "pomegranate",
        _FRUIT,
        (
            "Pomegranate and walnut stew: Simmer the juice with ground walnuts and chicken.",
            "Pomegranate salad: Strew the seeds over couscous with herbs.",
            "Pomegranate molasses: Boil the juice down to a dark syrup.",
        ),
        (
            "Seed a pomegranate: Break it under water and let the pith float.",
            "Juice a pomegranate: Press the halves like an orange and strain.",
        ),
    ),
    "Potato": Grocery(
        "potato",
        _ROOT,
        (
            "Potato gratin: Bake slices in cream with garlic.",
            "Roast potatoes: Parboil, shake and roast in hot fat.",
            "Potato salad: Dress warm slices with stock, vinegar and mustard.",
        ),
        (
            "Chit potatoes: Stand seed potatoes in the light until they sprout.",
            "Keep potatoes: Store them cool, dark and dry, away from onions.",
        ),
    ),
    "Red-Beet": Grocery(
        "beetroot",
        _ROOT,
        (
            "Borscht: Simmer grated roots in stock with vinegar and finish with sour cream.",
            "Beetroot and goat's cheese salad: Slice roasted roots with cheese and nuts.",
            "Beetroot brownies: Blend cooked roots into chocolate batter.",
        ),
        (
            "Roast beetroot: Wrap whole roots in foil and bake them for an hour.",
            "Remove beetroot stains: Rub hands with lemon and salt.",
        ),
    ),
    "Red-Grapefruit": Grocery(
        "grapefruit",
        _CITRUS,
        (
            "Grilled grapefruit: Strew halves with brown sugar and grill until it bubbles.",
            "Grapefruit and avocado salad: Lay segments and slices on leaves with its own juice.",
            "Grapefruit sorbet: Freeze juice and syrup and stir it as it sets.",
        ),
        (
            "Segment a grapefruit: Cut skin and pith away and slice between the membranes.",
            "Sweeten a bitter grapefruit: Salt the cut halves a little and wait five minutes.",
        ),
    ),
    "Satsumas": Grocery(
        "satsuma",
        _CITRUS,
        (
            "Satsumas in caramel: Pour amber caramel over whole peeled fruit.",
            "Satsuma and almond cake: Boil the fruit whole, blend and bake with almonds.",
            "Satsuma and chicory salad: Toss segments with bitter leaves.",
        ),
        (
            "Peel a satsuma in one piece: Start at the base and tear round.",
            "Keep satsumas: Spread them in one layer in the cold.",
        ),
    ),
    "Tomato": Grocery(
        "tomato",
        _VEGETABLE,
        (
            "Tomato sauce: Simmer with oil, garlic and basil for half an hour.",
            "Tomato tart: Bake slices on puff pastry with mustard.",
            "Gazpacho: Blend with cucumber, bread and vinegar and serve it cold.",
        ),
        (
            "Skin tomatoes: Cross the base, dip in boiling water and peel.",
            "Pinch out tomato plants: Break the side shoots off in the morning.",
        ),
    ),
    "Zucchini": Grocery(
        "zucchini",
        _VEGETABLE,
        (
            "Zucchini fritters: Grate, squeeze, bind with egg and fry.",
            "Ratatouille: Stew with aubergine, pepper and tomato.",
            "Zucchini ribbons: Peel into ribbons and dress raw with lemon.",
        ),
        (
            "Spiralise a zucchini: Turn it through a spiral cutter for noodles.",
            "Pollinate zucchini by hand: Carry pollen on a brush in the morning.",
        ),
    ),
}


def items() -> list[dict[str, Any]]:
    """The recipes and how-tos of all groceries, as items of a feed."""
    texts = [(name, kind, text) for name, one in GROCERIES.items() for kind, text in _texts(one)]
    return [_item(GROCERIES[name], kind, text) for name, kind, text in texts]


def tags(one: Grocery) -> dict[str, float]:
    """How items of a grocery are tagged: its word, and what it belongs to."""
    return {one.word: 1.0, **{word: round(0.8 - 0.1 * at, 1) for at, word in enumerate(reversed(one.kin))}}


def _texts(one: Grocery) -> list[tuple[str, str]]:
    return [*(("recipe", text) for text in one.dishes), *(("how_to", text) for text in one.jobs)]


def _item(one: Grocery, kind: str, text: str) -> dict[str, Any]:
    title, said = text.split(": ", 1)
    plain = "".join(letter if letter.isalnum() else "-" for letter in title.lower())
    return {
        "item_id": f"{kind}-{plain}",
        "kind": kind,
        "object_type": "food",
        "title": title,
        "text": said,
        "annotations": tags(one),
        "locale": "en",
        "created_at": "2026-01-01T00:00:00Z",
    }
