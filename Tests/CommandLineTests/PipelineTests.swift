import CommandLineSupport
import Foundation
import Support
import Testing
import Yams

/// The files under `pipelines/` say what the programs do.
@Suite("Pipelines")
struct PipelineTests {
  private let folder = Fixtures.root.appending(path: "pipelines")

  private struct Rule {
    let action: String
    let codes: [Int32]
  }

  private func jobs() throws -> [[String: Any]] {
    let text = try String(contentsOf: folder.appending(path: "kubernetes.yaml"), encoding: .utf8)
    return Array(try Yams.load_all(yaml: text)).compactMap { $0 as? [String: Any] }
  }

  private func value<Value>(_ object: [String: Any], _ path: String...) throws -> Value {
    var found: Any = object
    for key in path {
      if let index = Int(key) {
        found = try #require((found as? [Any])?[index])
      } else {
        found = try #require((found as? [String: Any])?[key], "\(path)")
      }
    }
    return try #require(found as? Value, "\(path)")
  }

  @Test("podFailurePolicy: what would be the same again fails the job, what may go on is tried again")
  func failurePolicy() throws {
    let jobs = try jobs()
    #expect(jobs.count == 2)
    for job in jobs {
      #expect(job["kind"] as? String == "Job" && job["apiVersion"] as? String == "batch/v1")
      let name: String = try value(job, "spec", "template", "spec", "containers", "0", "name")
      let rules: [[String: Any]] = try value(job, "spec", "podFailurePolicy", "rules")
      var actions: [Int32: String] = [:]
      for rule in rules {
        guard let codes = rule["onExitCodes"] as? [String: Any] else { continue }
        #expect(codes["containerName"] as? String == name && codes["operator"] as? String == "In")
        for code in try #require(codes["values"] as? [Int]) {
          #expect(actions.updateValue(try #require(rule["action"] as? String), forKey: Int32(code)) == nil)
        }
      }
      // Kubernetes wants it for a podFailurePolicy.
      #expect(try value(job, "spec", "template", "spec", "restartPolicy") == "Never")
      for status in ExitStatus.allCases {
        let action = actions[status.rawValue]
        switch status {
        case .success, .inputOutput: #expect(action == nil, "\(status)")
        case .interrupted: #expect(action == "Ignore", "\(status)")
        // `finish` may begin before the first part.
        case .missingInput: #expect(action == (name == "finish" ? nil : "FailJob"), "\(status)")
        default: #expect(action == "FailJob", "\(status)")
        }
      }
      #expect(Set(actions.keys).isSubset(of: ExitStatus.allCases.map(\.rawValue)))
    }
  }

  @Test("The Indexed Job tells its count, and the commands are ours")
  func commands() throws {
    let jobs = try jobs()
    let count: Int = try value(jobs[0], "spec", "completions")
    let environment: [[String: Any]] = try value(jobs[0], "spec", "template", "spec", "containers", "0", "env")
    #expect(
      environment.contains { $0["name"] as? String == "JOB_COMPLETION_COUNT" && $0["value"] as? String == "\(count)" })
    for job in jobs {
      let arguments: [String] = try value(job, "spec", "template", "spec", "containers", "0", "args")
      let outcome = try Started(
        Program.convert.url, arguments,
        environment: ["JOB_COMPLETION_INDEX": "0", "JOB_COMPLETION_COUNT": "\(count)"]
      ).outcome()
      // Understood, and there is no such model or text here; `finish` may be the first to begin.
      #expect(outcome.status == (arguments[0] == "finish" ? 75 : 66), "\(arguments): \(outcome.stderr)")
    }
  }
}
