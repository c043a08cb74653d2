"""What every series needs: a server of its own, sessions, interleaved measuring, reports."""
