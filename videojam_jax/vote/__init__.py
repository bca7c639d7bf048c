"""People's votes: two folders of clips compared blind, pair by pair.

`folders` pairs the clips, `order` decides what a rater sees where, `store` keeps the
votes, `ballot` is what a rater's browser is told, `server` and `page.*` show it, and
`table` says what came of it.
"""
