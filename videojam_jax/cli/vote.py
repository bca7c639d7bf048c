"""People compare the clips of two folders, side by side, without knowing whose they are."""

from pathlib import Path

from videojam_jax.cli.start import say
from videojam_jax.errors import UserError


def words(parser) -> None:
    parser.add_argument("--a", metavar="DIR", help="clips of one model: of `sample` or `evaluate`")
    parser.add_argument("--b", metavar="DIR", help="clips of the other")
    parser.add_argument(
        "--votes", default="votes.sqlite", metavar="FILE", help="default: %(default)s"
    )
    parser.add_argument("--name-a", metavar="NAME", help="in the table; raters never see it")
    parser.add_argument("--name-b", metavar="NAME")
    parser.add_argument("--host", default="127.0.0.1", help="to listen at; default: %(default)s")
    parser.add_argument("--port", type=int, default=8765, help="0: any; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of sides and order")
    parser.add_argument("--table", action="store_true", help="print what came of the votes")
    parser.add_argument("--json", metavar="FILE", help="with --table: write it there too")


def run(arguments) -> None:
    if arguments.overrides:
        raise UserError("vote: it has no config")
    votes = Path(arguments.votes)
    if arguments.table:
        from videojam_jax.vote import table

        found = table.results(votes)
        print(table.to_markdown(found))
        if arguments.json:
            print(f"wrote {table.write_json(Path(arguments.json), found)}")
        return
    if not (arguments.a and arguments.b):
        raise UserError("vote: give two folders, --a DIR and --b DIR; or --votes FILE --table")
    if bool(arguments.name_a) != bool(arguments.name_b):
        raise UserError("vote: --name-a and --name-b go together")
    from videojam_jax.vote.server import serve

    serve(
        Path(arguments.a),
        Path(arguments.b),
        votes,
        names=(arguments.name_a, arguments.name_b) if arguments.name_a else None,
        host=arguments.host,
        port=arguments.port,
        seed=arguments.seed,
        tell=say,
    )
