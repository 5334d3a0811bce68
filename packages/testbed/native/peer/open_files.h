// The limit of open files (RLIMIT_NOFILE) for processes that hold thousands of connections.
#pragma once

// Raises the limit as far as this process may.
void allow_many_open_files();
