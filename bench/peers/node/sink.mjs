// Takes POSTs on loopback, counts the different ids, and prints its port first. GET answers with the count.
import { createServer } from 'node:http';

const seen = new Set();
const server = createServer((request, response) => {
  if (request.method === 'GET') {
    response.end(String(seen.size));
    return;
  }
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    seen.add(JSON.parse(Buffer.concat(parts)).messageId);
    response.statusCode = 204;
    response.end();
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
