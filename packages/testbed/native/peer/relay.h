// Copies bytes between two connections until both directions have ended.
#pragma once

void relay(int client, int server);
// Ends our direction, and reads until the client ends its own: closing first, with unread bytes, would send RST, and
// discard what the client has not read yet. Bounded.
void finish(int client);
