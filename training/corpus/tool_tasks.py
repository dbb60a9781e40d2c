"""What users may want from tools: names, descriptions, arguments, wordings and replies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """What a user may want: tool names, descriptions, arguments, wordings, result and reply."""

    names: tuple[str, ...]
    about: str
    slots: tuple[tuple[str, str], ...]  # (argument name, kind of value)
    asks: tuple[str, ...]
    reply: str
    result: str = "text"


WEATHER = Task(
    ("get_weather", "weather", "get_current_weather", "weather_report", "fetch_weather"),
    "Get the weather in a city",
    (("city", "city"),),
    (
        "What is the weather in {city}?",
        "How is the weather in {city}?",
        "Weather in {city}?",
        "Tell me the weather in {city}.",
        "What's the weather like in {city} today?",
        "Is it cold in {city}?",
        "Is it raining in {city}?",
        "What is the weather in {city} right now?",
    ),
    "The weather in {city}: {result}.",
    "weather",
)
ADD = Task(
    ("add", "add_numbers", "sum", "calculate_sum", "plus"),
    "Add two numbers",
    (("a", "int"), ("b", "int")),
    (
        "What is {a} + {b}?",
        "Add {a} and {b}.",
        "What is {a} plus {b}?",
        "Use the tool to add {a} and {b}.",
        "{a} + {b}",
        "How much is {a} plus {b}?",
    ),
    "{a} + {b} = {result}.",
    "sum",
)
TIME = Task(
    ("get_time", "current_time", "get_current_time", "clock", "time_in_city"),
    "Get the current time in a city",
    (("city", "city"),),
    (
        "What time is it in {city}?",
        "Tell me the time in {city}.",
        "What is the time in {city} now?",
        "Current time in {city}?",
        "How late is it in {city}?",
    ),
    "It is {result} in {city}.",
    "time",
)
LOOK_UP = Task(
    ("search", "look_up", "web_search", "lookup", "find_information"),
    "Look up information about a topic",
    (("query", "topic"),),
    (
        "Look up {query}.",
        "Search for {query}.",
        "Find information about {query}.",
        "Please look up {query} for me.",
        "Search the web for {query}.",
    ),
    "I found this: {result}.",
)
COMMON = (WEATHER, ADD, TIME, LOOK_UP)
TASKS = (
    *COMMON,
    Task(
        ("send_email", "send_mail", "mail"),
        "Send an e-mail to a person",
        (("to", "name"), ("subject", "topic")),
        (
            "Send an e-mail to {to} about {subject}.",
            "Mail {to} about {subject}.",
            "Write an e-mail to {to}, subject {subject}.",
        ),
        "The e-mail to {to} was sent.",
    ),
    Task(
        ("set_alarm", "create_alarm", "alarm"),
        "Set an alarm",
        (("time", "time"),),
        ("Set an alarm for {time}.", "Wake me at {time}.", "Please set an alarm at {time}."),
        "The alarm is set for {time}.",
    ),
    Task(
        ("set_timer", "start_timer", "timer"),
        "Start a timer",
        (("minutes", "int"),),
        (
            "Set a timer for {minutes} minutes.",
            "Start a timer of {minutes} minutes.",
            "Timer for {minutes} minutes, please.",
        ),
        "The timer runs for {minutes} minutes.",
    ),
    Task(
        ("play_music", "play_song", "play"),
        "Play music",
        (("artist", "name"),),
        ("Play music by {artist}.", "Play a song by {artist}.", "I want to hear {artist}."),
        "I am playing music by {artist}.",
    ),
    Task(
        ("translate", "translate_text"),
        "Translate a word into another language",
        (("text", "word"), ("language", "language")),
        (
            "Translate {text} into {language}.",
            "How do you say {text} in {language}?",
            "Please translate {text} to {language}.",
        ),
        "{text} in {language} is {result}.",
        "code",
    ),
    Task(
        ("get_stock_price", "stock_price", "quote"),
        "Get the price of a stock",
        (("symbol", "symbol"),),
        (
            "What is the stock price of {symbol}?",
            "Price of {symbol}?",
            "How much is {symbol} stock?",
        ),
        "{symbol} costs {result}.",
        "number",
    ),
    Task(
        ("open_file", "read_file", "load_file"),
        "Read a file",
        (("path", "path"),),
        ("Read the file {path}.", "Open {path}.", "Show me the file {path}."),
        "The file {path} says: {result}.",
    ),
    Task(
        ("delete_file", "remove_file"),
        "Delete a file",
        (("path", "path"),),
        ("Delete the file {path}.", "Remove {path}.", "Please delete {path}."),
        "{path} was deleted.",
    ),
    Task(
        ("turn_on_light", "switch_light", "set_light"),
        "Switch the light in a room",
        (("room", "room"), ("on", "bool")),
        (
            "Switch the light in the {room} {on}.",
            "Turn {on} the light in the {room}.",
            "Light {on} in the {room}, please.",
        ),
        "The light in the {room} is {on}.",
    ),
    Task(
        ("book_table", "reserve_table"),
        "Book a table in a restaurant",
        (("people", "int"), ("time", "time")),
        ("Book a table for {people} at {time}.", "Reserve a table for {people} people at {time}."),
        "A table for {people} is booked at {time}.",
    ),
    Task(
        ("find_flight", "search_flights", "flights"),
        "Find flights between two cities",
        (("origin", "city"), ("destination", "city")),
        (
            "Find a flight from {origin} to {destination}.",
            "Flights from {origin} to {destination}?",
            "I want to fly from {origin} to {destination}.",
        ),
        "I found a flight from {origin} to {destination}: {result}.",
        "code",
    ),
    Task(
        ("get_user", "find_user", "user_info"),
        "Get a user by id",
        (("user_id", "int"),),
        ("Show user {user_id}.", "Get the user with id {user_id}.", "Who is user {user_id}?"),
        "User {user_id} is {result}.",
        "name",
    ),
    Task(
        ("multiply", "times", "product"),
        "Multiply two numbers",
        (("x", "int"), ("y", "int")),
        ("What is {x} times {y}?", "Multiply {x} by {y}.", "{x} * {y}"),
        "{x} * {y} = {result}.",
        "number",
    ),
    Task(
        ("get_population", "population"),
        "Get the population of a city",
        (("city", "city"),),
        ("What is the population of {city}?", "How many people live in {city}?"),
        "{city} has {result} people.",
        "number",
    ),
    Task(
        ("convert_currency", "convert"),
        "Convert money between currencies",
        (("amount", "int"), ("source", "currency"), ("target", "currency")),
        ("Convert {amount} {source} to {target}.", "How much is {amount} {source} in {target}?"),
        "{amount} {source} is {result} {target}.",
        "number",
    ),
    Task(
        ("add_note", "save_note", "create_note"),
        "Save a note",
        (("text", "topic"),),
        ("Save a note: {text}.", "Note that: {text}.", "Make a note about {text}."),
        "The note is saved.",
    ),
    Task(
        ("check_order", "order_status", "track_order"),
        "Check the status of an order",
        (("order_id", "code"),),
        (
            "Where is my order {order_id}?",
            "Check order {order_id}.",
            "What is the status of order {order_id}?",
        ),
        "Your order {order_id}: {result}.",
    ),
)
