// Addresses as the maps know them: canonical text on one side, 16 bytes in network order (IPv4 as v4-mapped) on the other.
import ipaddr from 'ipaddr.js';

type Words = readonly [number, number, number, number];

/** Canonical text; an IPv4-mapped IPv6 address becomes the IPv4 address. Throws on anything that is not an address. */
export function canonicalAddress(text: string): string {
  return ipaddr.process(text).toString();
}

export function isIPv4(canonical: string): boolean {
  return ipaddr.IPv4.isValid(canonical);
}

/** 127.0.0.0/8, ::1, and the unspecified addresses, which Linux connects to the caller itself. Canonical text. */
export function isLoopback(canonical: string): boolean {
  const address = ipaddr.process(canonical);
  return address.range() === 'loopback' || canonical === '0.0.0.0' || canonical === '::';
}

/** Whether a range holds an address of its own family. */
export function cidrContains(cidr: string, canonical: string): boolean {
  const [network, length] = parseCidr(cidr);
  const address = ipaddr.process(canonical);
  return address.kind() === network.kind() && address.match(network, length);
}

/** A range as text becomes its canonical text: `10.1.2.3/8` is `10.0.0.0/8`. Throws on anything that is not a range. */
export function canonicalCidr(text: string): string {
  const [network, length] = parseCidr(text);
  const base =
    network.kind() === 'ipv4'
      ? ipaddr.IPv4.networkAddressFromCIDR(`${network.toString()}/${length}`)
      : ipaddr.IPv6.networkAddressFromCIDR(`${network.toString()}/${length}`);
  return `${base.toString()}/${length}`;
}

function parseCidr(text: string): [ipaddr.IPv4 | ipaddr.IPv6, number] {
  const [network, length] = ipaddr.parseCIDR(text);
  if (network instanceof ipaddr.IPv6 && network.isIPv4MappedAddress()) {
    if (length < 96) throw new Error(`${text}: an IPv4-mapped range is at least 96 bits long`);
    return [network.toIPv4Address(), length - 96];
  }
  return [network, length];
}

/** The address as four words whose bytes in memory are the address in network order, IPv4 as v4-mapped. */
export function addressWords(text: string): Words {
  const address = ipaddr.process(text);
  const mapped = address instanceof ipaddr.IPv4 ? address.toIPv4MappedAddress() : address;
  const bytes = Buffer.from(mapped.toByteArray());
  return [bytes.readUInt32LE(0), bytes.readUInt32LE(4), bytes.readUInt32LE(8), bytes.readUInt32LE(12)];
}

/** The inverse of {@link addressWords}: canonical text, or undefined for the all-zero "not known". */
export function addressText(words: Words): string | undefined {
  if (words.every((word) => word === 0)) return undefined;
  const bytes = Buffer.alloc(16);
  words.forEach((word, index) => bytes.writeUInt32LE(word >>> 0, index * 4));
  return ipaddr.process(ipaddr.fromByteArray([...bytes]).toString()).toString();
}

/** The base address of a range in words and the length of its prefix in the v4-mapped form. */
export function cidrWords(cidr: string): { words: Words; prefixLength: number } {
  const [network, length] = parseCidr(canonicalCidr(cidr));
  return { words: addressWords(network.toString()), prefixLength: network.kind() === 'ipv4' ? length + 96 : length };
}

/** The inverse of {@link cidrWords}. */
export function cidrText(words: Words, prefixLength: number): string {
  const text = addressText(words) ?? '::';
  return isIPv4(text) && prefixLength >= 96 ? `${text}/${prefixLength - 96}` : `${text}/${prefixLength}`;
}
