/*
 * smtpd_peer.h - who is the client: its address as text and its verified name.
 */
#ifndef SMTPD_SMTPD_PEER_H
#define SMTPD_SMTPD_PEER_H

struct smtpd_session;

/*
 * Fills all that the session knows of its peer: address, port, names and their states. The name counts as verified when it
 * resolves back to the address; otherwise it is "unknown" (smtpd_peername_lookup). Waits for DNS.
 */
void smtpd_peer_find(struct smtpd_session *s);

#endif
