class Skip(Exception):
    pass
def cases():
    return []
