import { randomUUID } from "node:crypto";
import { SignJWT } from "jose";

const secret = new TextEncoder().encode(process.env.EVENTS_JWT_SECRET);

export function eventsToken(user) {
  return new SignJWT({ pipecast: { subscribe: [`user.${user.id}`] } })
    .setProtectedHeader({ alg: "HS256" })
    .setJti(randomUUID())
    .setExpirationTime("10m")
    .sign(secret);
}
