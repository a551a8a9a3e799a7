"""Measurements one can trust: a seeded load, a log of what happened, published definitions, a verdict.

workload + arrivals   what is asked, and when: from a seed, the same to the byte
client                the one edge that touches the world: sends, and notes the time of every piece
record                what happened to one request: due, sent, first byte, each piece, end, how it ended
figures               records -> metrics, by definitions that are printed with them. Pure
verdict               whether the run says something about the server, or about this client. Pure
compare               two runs -> a difference with its interval, or why they cannot be compared. Pure
results               what is kept in .infctl/bench
"""
