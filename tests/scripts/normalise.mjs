// What is left of an answer when time and chance are taken out?
//
// Reads JSON (or text) and prints it with sorted keys; times of day and UUIDs
// are blanked.

const text = await new Promise((done) => {
  let all = '';
  process.stdin.on('data', (chunk) => (all += chunk)).on('end', () => done(all));
});

const blank = (string) =>
  string
    .replace(/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?/g, '<time>')
    .replace(/\b\d{1,2}:\d\d:\d\d( ?[AP]M)?/g, '<time>')
    .replace(/\b[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}\b/g, '<uuid>');

const sorted = (value) => {
  if (Array.isArray(value)) return value.map(sorted);
  if (value && typeof value === 'object')
    return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
  return typeof value === 'string' ? blank(value) : value;
};

let out;
try {
  out = JSON.stringify(sorted(JSON.parse(text)), null, 1);
} catch {
  out = blank(text).trimEnd();
}
console.log(out);
