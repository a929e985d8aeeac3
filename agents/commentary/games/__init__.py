"""What is told of each game and in which words: a `Table` a file."""

from agents.commentary.games import (
    boxing,
    breakout,
    demon_attack,
    freeway,
    ms_pacman,
    pong,
    seaquest,
    skiing,
    space_invaders,
)
from agents.commentary.table import Table

TABLES: dict[str, Table] = {
    module.TABLE.game: module.TABLE
    for module in (
        boxing,
        breakout,
        demon_attack,
        freeway,
        ms_pacman,
        pong,
        seaquest,
        skiing,
        space_invaders,
    )
}
