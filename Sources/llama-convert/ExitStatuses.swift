public import Calibration
public import CommandLineSupport
public import Conversion
public import Verification

extension ConversionFailure: ExitStatusError {
  public var exitStatus: ExitStatus {
    switch kind {
    case .usage, .memory: .usage
    case .outputExists, .outputPlace, .otherWork: .cannotCreate
    case .unfinished: .interrupted
    case .noSpace: .inputOutput
    case .selfCheck: .bug
    }
  }
}

extension CalibrationMemoryFailure: ExitStatusError {
  public var exitStatus: ExitStatus { .usage }
}

extension MemoryFailure: ExitStatusError {
  public var exitStatus: ExitStatus { .usage }
}

extension TypeChoiceFailure: ExitStatusError {
  public var exitStatus: ExitStatus { .usage }
}

extension SensitivityFailure: ExitStatusError {
  public var exitStatus: ExitStatus { .usage }
}
