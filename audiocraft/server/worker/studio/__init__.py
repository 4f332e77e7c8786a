"""What a worker does for the studio: jobs of several pieces, each with the workflow that the command line has."""
