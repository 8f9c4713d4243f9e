public import ByteIO
internal import Foundation

/// What a self-test found: every fault with what saw it.
public struct SelfTestResult: Sendable {
  public static let schema = "llama-self-test/1"

  /// What sees faults, in the order in which a verification asks.
  public enum Detector: String, Sendable, CaseIterable {
    /// Reading the weights refuses them.
    case integrity
    /// The configurations differ.
    case structure
    /// A gate of the policy fails with 95 % confidence.
    case drift
    /// Scores differ at all: what a lossless promise is held to.
    case exactness
  }

  public struct Detection: Sendable, Equatable {
    public let detector: Detector
    /// What it saw.
    public let evidence: String

    init(_ detector: Detector, _ evidence: String) {
      self.detector = detector
      self.evidence = evidence
    }
  }

  public struct Finding: Sendable {
    /// A stable short name.
    public let fault: String
    public let detail: String
    /// Empty when nothing saw the fault.
    public let detections: [Detection]
    /// ln of the perplexities' ratio.
    public let lnRatio: Double
    /// Clustered by windows; nil where it cannot be estimated.
    public let standardError: Double?
    /// Of the perplexities' ratio, where the policy sets one.
    public let limit: Double?
    /// Mean KL divergence in nats a token; nil where the candidate read other windows.
    public let divergence: Double?
    public let differingTokens: Int
    public let tokens: Int

    public var isFlagged: Bool { !detections.isEmpty }

    /// How far the drift lies beyond the limit, in standard errors; negative inside it.
    public var margin: Double? {
      guard let limit, let standardError, standardError > 0 else { return nil }
      return (lnRatio - Foundation.log(limit)) / standardError
    }
  }

  public let path: String
  /// Nil for the built-in text.
  public let text: String?
  public let policy: Policy
  public let context: Int
  public let tokens: Int
  public let windows: Int
  /// The model against itself: every score equal, every divergence and every layer's error exactly 0.
  public let isExact: Bool
  public let findings: [Finding]
  public let seconds: Double

  /// Every fault was seen, and nothing was seen where there is none.
  public var passed: Bool { isExact && findings.allSatisfy(\.isFlagged) }
}

extension SelfTestResult {
  public var document: JSONValue {
    func number(_ value: Double?) -> JSONValue {
      value.flatMap { $0.isFinite ? .number(JSONNumber($0)) : nil } ?? .null
    }
    return [
      "schema": .string(Self.schema),
      "passed": .bool(passed),
      "model": .string(path),
      "text": text.map { .string($0) } ?? .null,
      "policy": policy.json,
      "context": .number(JSONNumber(context)),
      "tokens": .number(JSONNumber(tokens)),
      "windows": .number(JSONNumber(windows)),
      "model_equals_itself": .bool(isExact),
      "faults": .array(
        findings.map { finding in
          [
            "fault": .string(finding.fault),
            "planted": .string(finding.detail),
            "flagged": .bool(finding.isFlagged),
            "flagged_by": .array(
              finding.detections.map {
                ["detector": .string($0.detector.rawValue), "evidence": .string($0.evidence)]
              }),
            "ln_ratio": number(finding.lnRatio),
            "ln_ratio_se": number(finding.standardError),
            "standard_errors_beyond_limit": number(finding.margin),
            "kld_mean": number(finding.divergence),
            "differing_tokens": .number(JSONNumber(finding.differingTokens)),
            "tokens": .number(JSONNumber(finding.tokens)),
          ]
        }),
      "seconds": number(seconds),
    ]
  }

  /// A table for a terminal, and what each detector saw.
  public var summary: String {
    var rows = [["fault", "drift", "beyond limit", "scores that differ", "flagged by"]]
    rows.append(["none (the model itself)", isExact ? "0" : "not 0", "", isExact ? "0" : "some", isExact ? "" : "A/A"])
    for finding in findings {
      rows.append([
        finding.fault, Self.percent(finding.lnRatio),
        finding.margin.map { Figure.fixed($0, 1) + " SE" } ?? "",
        "\(finding.differingTokens) of \(finding.tokens)",
        finding.isFlagged ? finding.detections.map(\.detector.rawValue).joined(separator: ", ") : "NOTHING",
      ])
    }
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    let isLeft = [true, false, false, false, true]
    let lines = rows.map { row in
      let cells = row.indices.map { column in
        let space = String(repeating: " ", count: widths[column] - row[column].count)
        return isLeft[column] ? row[column] + space : space + row[column]
      }
      return trimmed(cells.joined(separator: "  "))
    }
    let seen = findings.filter(\.isFlagged).count
    let verdict =
      passed
      ? "PASS  All \(seen) planted faults were flagged, and the model equals itself exactly."
      : "FAIL  \(seen) of \(findings.count) planted faults were flagged; the model \(isExact ? "equals" : "does not equal") itself exactly."
    let details = findings.flatMap { finding in
      ["\(finding.fault): \(finding.detail)"]
        + finding.detections.filter { $0.detector != .exactness }.map { "  \($0.detector.rawValue): \($0.evidence)" }
    }
    let scope =
      "\(tokens) tokens in \(windows) windows of \(context), \(text ?? "the built-in text"), policy \(policy.name), "
      + "\(Figure.fixed(seconds, 1)) s"
    return (lines + [""] + details + ["", scope, verdict]).joined(separator: "\n") + "\n"
  }

  private func trimmed(_ line: String) -> String {
    String(line.reversed().drop { $0 == " " }.reversed())
  }

  /// The perplexity's change.
  private static func percent(_ lnRatio: Double) -> String {
    guard lnRatio.isFinite else { return "no number" }
    let change = (Foundation.exp(lnRatio) - 1) * 100
    return (change < 0 ? "−" : "+") + Figure.fixed(abs(change), abs(change) < 1 ? 4 : 1) + " %"
  }
}
