"""From a frozen request to codes: loops written against small protocols, with all state in one session."""
