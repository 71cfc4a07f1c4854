"""The parts of an installation and what starts them: supervisor, workers, watcher, schedules, notifications."""
