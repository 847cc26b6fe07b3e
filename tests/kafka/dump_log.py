def comparisons():
    return []
