package server

// Nearly is nearly.
func Nearly(used, limit int64) bool { return nearly(used, limit) }
