// Makes a private key for each algorithm named on standard input: its PKCS#8 PEM and its RFC 7638 thumbprint.
import { text } from "node:stream/consumers";
import { calculateJwkThumbprint, exportJWK, exportPKCS8, generateKeyPair } from "jose";

const made = {};
for (const alg of JSON.parse(await text(process.stdin))) {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  made[alg] = { pem: await exportPKCS8(privateKey), kid: await calculateJwkThumbprint(await exportJWK(publicKey)) };
}
console.log(JSON.stringify(made));
