internal import ByteIO

extension Bisection {
  /// The member `bisect` of `report.json` (`formats/reports.md`).
  var json: JSONValue {
    var members = Members()
    members.set("tokens", tokens)
    members.set("windows", windows)
    members.set("passes", passes)
    members.set("maximum_passes", maximumPasses)
    members.set("kld", kld)
    members.set("ln_ratio", lnRatio)
    members.set("target_share", Self.target)
    members.set("culprits", .array(culprits.map { .string($0) }))
    members.set("explanation", explanation?.json ?? .null)
    members.set("sentence", sentence)
    members.set("tests", .array(tests.map(\.json)))
    return members.object
  }

  /// Reads it back.
  init(_ reader: SubjectReader) throws(ParseFailure) {
    var tests: [Test] = []
    for test in try reader.list("tests") { tests.append(try Test(test)) }
    let explanation = reader.value["explanation"]?.object == nil ? nil : try Test(reader.member("explanation"))
    self.init(
      tokens: try reader.count("tokens"), windows: try reader.count("windows"),
      maximumPasses: try reader.count("maximum_passes"), kld: try reader.optionalNumber("kld") ?? .nan,
      lnRatio: try reader.optionalNumber("ln_ratio") ?? .nan, tests: tests, culprits: try reader.strings("culprits"),
      explanation: explanation)
  }

  /// What was measured and how, for a reader who has not asked for it.
  var note: String {
    "On \(Figure.count(tokens)) tokens in \(Figure.count(windows)) \(windows == 1 ? "window" : "windows"), mean KLD "
      + "\(Figure.significant(kld)): \(passes) passes of the candidate (at most \(maximumPasses)). Explained is the part of "
      + "the mean KLD that is gone when the base's tensors are in the candidate's place, ± its standard error over windows."
  }

  /// For the readable summary.
  var lines: [String] {
    var lines = ["", "bisection  \(VerificationReport.plain(sentence))"]
    lines.append(
      "  \(Figure.count(tokens)) tokens, mean KLD \(Figure.significant(kld)), \(passes) of at most \(maximumPasses) passes"
    )
    let best = tests.sorted { $0.share > $1.share }.prefix(6)
    lines += VerificationReport.aligned(
      best.map {
        [
          VerificationReport.plain($0.name), $0.tensors == 1 ? "1 tensor" : "\($0.tensors) tensors",
          Self.shareText($0.share, $0.shareError),
        ]
      }
    ).map { "  " + $0 }
    return lines
  }
}

extension Bisection.Test {
  fileprivate var json: JSONValue {
    var members = Members()
    members.set("name", name)
    members.set("tensors", tensors)
    members.set("share", share)
    members.set("share_se", shareError)
    members.set("kld", kld)
    members.set("ln_ratio", lnRatio)
    return members.object
  }

  fileprivate init(_ reader: SubjectReader) throws(ParseFailure) {
    self.init(
      name: try reader.string("name"), tensors: try reader.count("tensors"),
      share: try reader.optionalNumber("share") ?? .nan, shareError: try reader.optionalNumber("share_se"),
      kld: try reader.optionalNumber("kld") ?? .nan, lnRatio: try reader.optionalNumber("ln_ratio") ?? .nan)
  }
}
