//! The server as its clients see it, over TLS on loopback and in memory. One binary, because linking costs more than running.

#[cfg(test)]
mod ends;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod pki;
#[cfg(test)]
mod upgrades;
#[cfg(test)]
mod world;
