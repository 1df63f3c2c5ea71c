"""Fields: functions of place whose values an operator maps to a signal."""
