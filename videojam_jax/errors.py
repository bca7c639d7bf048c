"""The one exception a user is meant to read."""


class UserError(Exception):
    """Something the user can put right: a path, a config key, a shape.

    Its message is one line that names the file, key or shape that is wrong and
    what would be right. The command line prints it without a traceback and
    exits with status 2.
    """
