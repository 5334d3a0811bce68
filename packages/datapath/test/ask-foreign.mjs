// Asks the options of a connection that a foreign program answers, refuses or changes. Arguments: IP and port to dial.
// Prints one JSON line.
import { connect } from 'node:net';
import { getSockOpt } from '@sluice/linux';

const [ip, port] = process.argv.slice(2);
const SOL_SOCKET = 1;
const IPPROTO_TCP = 6;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const NO_SUCH_OPTION = 4242;
const TCP_INFO = 11;
/** struct tcp_info of linux/tcp.h: tcpi_options, and its bit TCPI_OPT_ECN. */
const TCPI_OPTIONS = 5;
const TCPI_OPT_ECN = 8;
/** Of an int, and around the page that the kernel shows to programs. */
const LENGTHS = [4, 4095, 4096, 4097, 65536];

process.removeAllListeners('warning'); // of _handle, which has no successor
const socket = connect({ host: ip, port: Number(port) }, () => {
  const { fd } = socket._handle;
  const ask = (name, length) => {
    try {
      return getSockOpt(fd, SOL_SOCKET, name, length).toString('hex');
    } catch (error) {
      return error.code;
    }
  };
  const answers = {
    receiveBuffer: LENGTHS.map((length) => ask(SO_RCVBUF, length)),
    noSuchOption: LENGTHS.map((length) => ask(NO_SUCH_OPTION, length)),
    sendBuffer: ask(SO_SNDBUF, 4),
    ecn: (getSockOpt(fd, IPPROTO_TCP, TCP_INFO, TCPI_OPTIONS + 1)[TCPI_OPTIONS] & TCPI_OPT_ECN) !== 0,
  };
  process.stdout.write(`${JSON.stringify(answers)}\n`, () => process.exit());
});
