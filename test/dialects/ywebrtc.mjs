// What a page with y-webrtc needs of the published packages, to be made one script.
export * as Y from 'yjs'
export { WebrtcProvider } from 'y-webrtc'
