//! The only sockets: the connection turn, the server, the client.
