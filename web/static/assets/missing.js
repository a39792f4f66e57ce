// @ts-check
/** The page for addresses that are none. @module */

import {initShell} from './shell.js';

await initShell();
