// Bytes from one connection to another and back, until both directions have ended.
#pragma once

void relay(int client, int server);
// Ends our direction, and reads until the client ends its own: closing first, with bytes unread, would send RST, and
// that throws away what the client has not read yet. Bounded.
void finish(int client);
