"""What a run leaves behind: its folder and journal, its report, its mirror in MLflow."""
