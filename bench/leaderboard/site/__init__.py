"""The leaderboard as a static site: one folder that opens from disk and fetches nothing."""
