// Backends in Node, each on a port of its own, that read paths as apps in Node do. They end with their standard input.
// Prints one line: the ports.
import { createServer } from 'node:http';
import { posix } from 'node:path';
import { parse } from 'node:url';

const decoded = (text) => {
  try {
    return decodeURIComponent(text);
  } catch {
    return unescape(text);
  }
};

const kinds = {
  // The standard of the web: `\` is a slash, dots are resolved, also escaped ones.
  'node-url': (target) => posix.normalize(decoded(new URL(target, 'http://backend.example').pathname)),
  // What older apps use.
  'node-legacy': (target) => posix.normalize(decoded(parse(target).pathname ?? '/')),
  // Static file servers: decoded, then joined to a folder.
  'node-join': (target) => posix.join('/', decoded(target.split('?')[0])),
  // A router that does not tell cases apart, as Express has it unless told otherwise.
  'node-any-case': (target) => posix.normalize(decoded(target.split('?')[0])).toLowerCase(),
};

const ports = {};
for (const [name, pathOf] of Object.entries(kinds)) {
  const server = createServer((request, response) => {
    let path = '';
    try {
      path = pathOf(request.url).replace(/(.)\/+$/, '$1');
    } catch {
      response.writeHead(400);
    }
    const isProtected = path === '/admin' || path.startsWith('/admin/');
    response.end(`${isProtected ? 'PROTECTED' : 'public'} ${path}`);
  });
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  ports[name] = server.address().port;
}
console.log(JSON.stringify(ports));
process.stdin.resume().on('end', () => process.exit(0));
