// What pages of socket.io-p2p and other old code still ask of RTCPeerConnection, and
// browsers have dropped: getStats with callbacks. Load it before those.
//
//   getStats(success, track?)         Chrome's: success(response), response.result() is
//                                     an array of {id, type, timestamp, names(), stat(name)}
//   getStats(track, success, failure) the first standard's: success(report)
//
// Everything else goes to the browser as it is. Names and types of candidates are those
// of old; all other stats keep today's names.
(function () {
  'use strict'
  var prototype = window.RTCPeerConnection && window.RTCPeerConnection.prototype
  if (!prototype || !prototype.getStats) return
  var native = prototype.getStats

  var types = { 'local-candidate': 'localcandidate', 'remote-candidate': 'remotecandidate', 'candidate-pair': 'googCandidatePair' }
  var kinds = { srflx: 'serverreflexive', prflx: 'peerreflexive', relay: 'relayed' }

  function legacy (stat) {
    var values = {}
    Object.keys(stat).forEach(function (name) {
      if (name !== 'id' && name !== 'type' && name !== 'timestamp') values[name] = String(stat[name])
    })
    if (/-candidate$/.test(stat.type)) {
      values.ipAddress = values.address || values.ip || ''
      values.portNumber = values.port || ''
      values.transport = values.protocol || ''
      values.candidateType = kinds[stat.candidateType] || values.candidateType
    }
    return {
      id: stat.id,
      type: types[stat.type] || stat.type,
      timestamp: new Date(stat.timestamp),
      names: function () { return Object.keys(values) },
      stat: function (name) { return Object.prototype.hasOwnProperty.call(values, name) ? values[name] : '' }
    }
  }

  prototype.getStats = function (first, second, third) {
    if (typeof first === 'function') {
      return native.call(this, second || null).then(function (report) {
        var all = []
        report.forEach(function (stat) { all.push(legacy(stat)) })
        first({
          result: function () { return all },
          namedItem: function (id) { return all.filter(function (stat) { return stat.id === id })[0] || null }
        })
      }, typeof third === 'function' ? third : function () {})
    }
    if (typeof second === 'function') {
      return native.call(this, first || null).then(second, typeof third === 'function' ? third : function () {})
    }
    return native.apply(this, arguments)
  }
})()
