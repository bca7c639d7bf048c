"""Every config key with its default and meaning."""


def words(parser) -> None:
    """It takes none."""


def run(arguments) -> None:
    from videojam_jax.config import loading

    print(loading.explain())
